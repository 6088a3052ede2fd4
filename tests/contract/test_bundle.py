def test_opens(tiny_bundle):
    import onnxruntime as ort, numpy as np
    from elastier_contract.layout import session_config

    for t in tiny_bundle.manifest.tiers:
        so = ort.SessionOptions()
        for k, v in session_config("a", tiny_bundle.path).items():
            so.add_session_config_entry(k, v)
        s = ort.InferenceSession(str(tiny_bundle.graph_path(t)), so)
        print(
            s.run(
                None,
                tiny_bundle.manifest.features.encode(
                    {
                        "carrier": ["AA", "ZZ"],
                        "hour": [5, "7"],
                        "distance": [1, 2.5],
                        "wind_speed": [1, 2],
                        "temperature": [1, 2],
                    }
                ),
            )
        )
