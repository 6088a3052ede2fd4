"""The policies by name."""

from collections.abc import Sequence

from elastier_server.errors import SettingsError
from elastier_server.scheduler.guarded import GuardedPolicy
from elastier_server.scheduler.policy import FixedPolicy, GreedyPolicy, Policy

DEFAULT_POLICY = "guarded"
_FIXED = "fixed:"
_POLICIES: dict[str, type[GuardedPolicy] | type[GreedyPolicy]] = {
    DEFAULT_POLICY: GuardedPolicy,
    "greedy": GreedyPolicy,
}


def policy_by_name(name: str, tiers: Sequence[str]) -> Policy:
    """`guarded`, `greedy`, or `fixed:TIER`, which serves one tier only.

    Raises:
        SettingsError: No such policy, or no such tier.
    """
    if name.startswith(_FIXED):
        tier = name.removeprefix(_FIXED)
        if tier not in tiers:
            raise SettingsError(f"policy {name!r}: expected a tier, one of {list(tiers)}, got {tier!r}")
        return FixedPolicy(tiers.index(tier))
    if name not in _POLICIES:
        raise SettingsError(f"policy: expected one of {[*_POLICIES, _FIXED + 'TIER']}, got {name!r}")
    return _POLICIES[name]()
