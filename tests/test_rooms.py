"""Where modules live: what one family alone uses lives with that family."""

from __future__ import annotations

import grimp

#: Kits: rooms that know no family, though one alone may use some of their modules today.
KITS = (
    "common.records",
    "common.factors",
    "common.pmml",
    "batch_layer.examples",
    "batch_layer.search",
    "serving_layer.search",
)
PACKAGES = ("common", "batch_layer", "speed_layer", "serving_layer", "stack", "demo", "cli")


def family_of(module: str) -> str | None:
    layer, _, rest = module.partition(".apps.")
    return rest.partition(".")[0] or None if layer in PACKAGES else None


def test_what_one_family_alone_uses_lives_with_it() -> None:
    graph = grimp.build_graph(*PACKAGES)
    judged, strays = 0, {}
    for module in sorted(graph.modules):
        if family_of(module) or module.startswith(KITS) or graph.find_children(module):
            continue
        importers = graph.find_modules_that_directly_import(module)
        users = {family_of(importer) for importer in importers}
        judged += 1
        if len(users) == 1 and users != {None}:
            strays[module] = users.pop()
    assert strays == {}
    assert judged > 100
