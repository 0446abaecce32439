"""The order of turns over all lanes: who may go on, and what nobody has to wait for."""

from __future__ import annotations

from durable_kernel.history import Turn, TurnKind
from durable_kernel.replay.order import TurnOrder

END, HEAD, WORD = TurnKind.END, TurnKind.HEAD, TurnKind.WORD


def _order(*turns: tuple[str, TurnKind, int]) -> TurnOrder:
    return TurnOrder([Turn(lane, kind, number, 0) for lane, kind, number in turns])


def test_a_lane_alone_has_no_order() -> None:
    order = _order(("", END, 0), ("", END, 1))

    assert order.is_over
    assert order.place_of("", END, 0) is None


def test_turns_are_taken_in_the_recorded_order() -> None:
    order = _order(("/t2", END, 0), ("/t1", END, 0), ("", END, 0))
    first = order.place_of("/t2", END, 0)
    second = order.place_of("/t1", END, 0)
    assert first is not None
    assert second is not None

    assert not order.is_first(second)
    assert order.is_first(first)
    order.take(first)
    assert order.is_first(second)


def test_a_lane_that_asks_for_a_later_turn_gives_up_its_earlier_ones() -> None:
    order = _order(("/t1", HEAD, 0), ("/t1", END, 0), ("/t1", END, 1), ("", END, 0))

    place = order.place_of("/t1", END, 1)

    assert place is not None
    assert order.is_first(place)


def test_only_the_end_of_a_stream_may_be_passed_over() -> None:
    order = _order(("/t1", HEAD, 0), ("/t1", END, 0), ("/t2", END, 0))
    assert not order.skip_optional()
    head = order.place_of("/t1", HEAD, 0)
    assert head is not None
    order.take(head)

    assert order.skip_optional()
    assert not order.skip_optional()
    assert order.first() == Turn("/t2", END, 0, 0)


def test_a_lane_that_ended_keeps_nobody_waiting() -> None:
    order = _order(("/t1", WORD, 0), ("/t1", WORD, 1), ("/t2", END, 0))

    order.give_up("/t1")

    assert order.first() == Turn("/t2", END, 0, 0)
    assert order.required_left() == 1


def test_the_end_of_a_stream_is_not_waited_for_before_the_run_is_live() -> None:
    order = _order(("/t1", HEAD, 0), ("/t1", END, 0))
    head = order.place_of("/t1", HEAD, 0)
    assert head is not None
    assert not order.is_over

    order.take(head)

    assert order.is_over


def test_turns_behind_the_commit_do_not_keep_the_cell() -> None:
    """H8: what came between two cells belongs to neither's end."""
    order = TurnOrder([Turn("/t1", END, 0, 0), Turn("/t1", END, 1, 0, is_after_commit=True)])
    place = order.place_of("/t1", END, 0)
    assert place is not None
    order.take(place)

    assert order.required_left(before_commit=True) == 0
    assert order.required_left() == 1


def test_lanes_with_a_cut_call_do_not_keep_the_others() -> None:
    order = _order(("/t1", END, 0), ("/t2", END, 0))

    assert order.required_left(but={"/t1"}) == 1
    assert order.required_left(but={"/t1", "/t2"}) == 0


def test_turns_from_before_the_company_came_are_taken() -> None:
    order = _order(("", HEAD, 0), ("", END, 0), ("", END, 1), ("/a1", END, 0))

    order.give_up_calls("", 1)

    assert order.first() == Turn("", END, 1, 0)


def test_the_turns_of_lanes_that_were_cut_keep_nobody_waiting() -> None:
    order = _order(("/t1", HEAD, 0), ("/t1", WORD, 0), ("/t2", END, 0), ("", END, 0))
    place, last = order.place_of("/t2", END, 0), order.place_of("", END, 0)
    assert place is not None
    assert last is not None

    assert not order.is_first(place)
    assert order.is_first(place, but={"/t1"})
    assert not order.is_first(last, but={"/t1"})
