"""What was found on this machine, shown: for `arbiter models discover` and `arbiter up`."""

from __future__ import annotations

from collections.abc import Mapping

from arbiter.cli.client import Json
from arbiter.cli.output import OUT, text

_SAYS = {
    "registered": "registered just now",
    "known": "registered",
    "changed": "CHANGED",
    "shown": "not registered",
    "reading": "being read",
    "trouble": "not used",
}


def show_found(report: Json, *, everything: bool) -> None:
    """Every server and folder with its models.

    everything: also the usual places where there is nothing, with the reason.
    """
    nothing = True
    for place in [*_listed(report, "servers"), *_listed(report, "folders")]:
        models = _listed(place, "models")
        is_there = place.get("kind") is not None or bool(models)
        nothing &= not is_there
        if is_there or place.get("named") or everything:
            _show_place(place, models, is_there=is_there)
    if nothing and not everything:
        OUT.print(
            "  no model was found: arbiter models discover says where it looked, "
            "arbiter models add FILE.gguf takes a file",
            markup=False,
        )


def _show_place(
    place: Mapping[str, object], models: list[Mapping[str, object]], *, is_there: bool
) -> None:
    what = " ".join(str(place[k]) for k in ("kind", "version") if place.get(k)) or place["label"]
    where = place.get("url") or place.get("path")
    trouble = str(place.get("trouble") or "").replace(f" at {where}", "")
    said = f": {trouble}" if trouble else "" if is_there else ": nothing there"
    OUT.print(f"  {what} at {where}{said}", markup=False)
    for model in models:
        OUT.print(f"    {_model_line(model)}", markup=False)


def _model_line(model: Mapping[str, object]) -> str:
    names = model.get("names")
    state = _SAYS[str(model["what"])]
    if isinstance(names, list) and names and names != [model["model"]]:
        state += f" as {text(names)}"
    why = model.get("why")
    return f"{model['model']}  {state}" + (f": {why}" if why else "")


def _listed(found: Mapping[str, object], key: str) -> list[Mapping[str, object]]:
    value = found.get(key)
    return value if isinstance(value, list) else []


def news(report: Json) -> Json:
    """Only what a person must hear of after the first look: new, changed, gone."""

    def fresh(place: Mapping[str, object]) -> Json:
        models = [m for m in _listed(place, "models") if m["what"] in {"registered", "changed"}]
        return {**place, "models": models}

    kept = {
        key: [one for one in map(fresh, _listed(report, key)) if one["models"]]
        for key in ("servers", "folders")
    }
    return dict(kept)
