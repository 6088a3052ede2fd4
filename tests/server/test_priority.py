"""Real-time priority: asked for, got, or refused with what it needs."""

import os
import sys

import pytest

from elastier_server.errors import SettingsError
from elastier_server.priority import LOOP_PRIORITY, take_priority


def test_the_thread_asks_to_run_round_robin_before_ordinary_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int, int]] = []

    def note(pid: int, policy: int, param: os.sched_param) -> None:
        asked.append((pid, policy, param.sched_priority))

    monkeypatch.setattr(os, "sched_setscheduler", note)
    take_priority(LOOP_PRIORITY)
    assert asked == [(0, os.SCHED_RR, 2)]


def test_without_permission_the_error_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, policy: int, param: os.sched_param) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    with pytest.raises(SettingsError, match="CAP_SYS_NICE"):
        take_priority(LOOP_PRIORITY)


def test_elsewhere_than_on_linux_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SettingsError, match="expected Linux, got darwin"):
        take_priority(LOOP_PRIORITY)
