"""Law 8 on graphs: no group is left without units. And law 9: masks that do not fit are refused by name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from law_graphs import Case, cases

from prunekit.errors import EmptyGroupError, InputError
from prunekit.graph.groups import find_groups
from prunekit.graph.surgery import shrink, zeroed


@settings(deadline=None, max_examples=25)
@given(cases(), st.data())
def test_an_empty_group_is_refused(case: Case, data: st.DataObject) -> None:
    groups = find_groups(case.graph)
    assert all(group.width > 0 for group in groups)
    if groups:
        group = data.draw(st.sampled_from(groups))
        masks = {**case.masks, group.name: np.zeros(group.width, bool)}
        for change in (shrink, zeroed):
            with pytest.raises(EmptyGroupError, match=f"'{group.name}' keeps 0 units"):
                change(case.graph, masks)
        widest = max(group.width for group in groups)
        with pytest.raises(EmptyGroupError, match="at least"):
            shrink(case.graph, {g.name: np.ones(g.width, bool) for g in groups}, min_units=widest + 1)


@settings(deadline=None, max_examples=10)
@given(cases("Add"))
def test_masks_that_do_not_fit_are_refused(case: Case) -> None:
    name = next(iter(case.masks))
    missing = {other: keep for other, keep in case.masks.items() if other != name}
    with pytest.raises(InputError, match=f"'{name}' has no mask"):
        shrink(case.graph, missing)
    with pytest.raises(InputError, match="'nobody' belongs to no group"):
        shrink(case.graph, {**case.masks, "nobody": np.ones(1, bool)})
    for wrong in (np.ones(99, bool), case.masks[name].astype(np.int64)):
        with pytest.raises(InputError, match=f"'{name}' is .* needs bool"):
            shrink(case.graph, {**case.masks, name: wrong})
