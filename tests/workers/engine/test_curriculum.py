from fettle_workers.engine.curriculum import ItemMemory, draw_rows, refill_rows


def test_every_epoch_visits_every_row_once():
    memory = ItemMemory.of(6)
    drawn = [row for _ in range(3) for row in draw_rows(memory, batch_size=4, seed=1)]
    assert sorted(drawn[:6]) == sorted(drawn[6:]) == list(range(6))
    assert drawn[:6] != drawn[6:]  # another order


def flatten(memory, row, times=8):
    for _ in range(times):
        memory.observe(row, informative=False)


def test_a_row_that_teaches_nothing_rests_and_is_probed_now_and_then():
    memory = ItemMemory.of(4)
    flatten(memory, 2)
    visits = [2 in draw_rows(memory, batch_size=4, seed=1) for _ in range(8)]
    assert sum(visits) == 2  # every fourth epoch


def test_when_every_row_rests_none_does():
    memory = ItemMemory.of(3)
    for row in range(3):
        flatten(memory, row)
    memory.position = 3 * 3  # an epoch in which only row 1 would be probed
    memory_all = ItemMemory.of(1)
    flatten(memory_all, 0)
    memory_all.position = 1
    assert draw_rows(memory_all, batch_size=1, seed=1) == [0]


def test_a_row_comes_back_once_it_teaches_again():
    memory = ItemMemory.of(2)
    flatten(memory, 0)
    memory.observe(0, informative=True)
    assert memory.chance(0) > 0.15


def refill(memory, informative, drawn=8, wanted=8):
    return refill_rows(memory, informative_rows=informative, wanted=wanted, drawn=drawn, seed=1, step=1, round_=0)


def test_flat_groups_are_replaced_while_that_may_help():
    memory = ItemMemory.of(20)
    rows = refill(memory, informative=[0, 1])
    assert len(rows) == 6
    assert not {0, 1} & set(rows)


def test_refills_favour_rows_of_middling_reward():
    # Half of the rows are nearly solved (p = 1), half in between (p = 1/2): weights 0.025 and 0.25.
    counts = {"solved": 0, "middling": 0}
    for step in range(300):
        memory = ItemMemory.of(21)
        for row in range(20):
            memory.observe_reward(row, 1.0 if row < 10 else 0.5)
        memory.observe_reward(20, 0.0)
        for row in refill_rows(memory, informative_rows=[20], wanted=4, drawn=4, seed=1, step=step, round_=0):
            counts["solved" if row < 10 else "middling"] += 1
    assert sum(counts.values()) == 900
    assert 0.05 < counts["solved"] / 900 < 0.17


def test_no_refill_when_half_of_the_groups_teach():
    assert refill(ItemMemory.of(20), informative=[0, 1, 2, 3]) == []


def test_no_refill_from_rows_that_never_taught():
    memory = ItemMemory.of(20)
    for row in range(20):
        flatten(memory, row)
    assert refill(memory, informative=[]) == []


def test_a_step_draws_three_times_its_groups_at_most():
    assert len(refill(ItemMemory.of(50), informative=[], drawn=20)) == 4
    assert refill(ItemMemory.of(50), informative=[], drawn=24) == []


def test_the_shortfall_is_measured_row_by_row_against_the_best_a_row_has_had():
    memory = ItemMemory.of(3)
    assert memory.shortfall([0, 1]) is None
    for mean in (0.5, 1.0, 0.0):  # moving average 0.5, 0.75, 0.375
        memory.observe_reward(0, mean)
    memory.observe_reward(1, 0.2)
    assert memory.shortfall([0]) == 0.375
    assert memory.shortfall([0, 1, 2]) == 0.1875
    assert memory.mean_reward == (0.375 + 0.2) / 2
