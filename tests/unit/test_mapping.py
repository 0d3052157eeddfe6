"""Which test holds a module: the file of the same name in the same folder, or what is named here, and why."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "tests" / "unit"
ROOMS = ("core", "engine", "streams", "bus")
SHORT_MODULE = 60
"""Lines up to which a module may be tested with those that use it."""

CONFORMANCE = "tests/conformance"
HELD_ELSEWHERE = {
    # What is told, and no more: the suite of what carries it.
    "core/cluster/info.py": "tests/unit/codecs/test_control_v1.py",
    # Interfaces: one suite over all that implement them.
    "bus/base.py": f"{CONFORMANCE}/test_bus.py",
    "streams/base.py": f"{CONFORMANCE}/test_store.py",
    "streams/statistics.py": f"{CONFORMANCE}/test_store.py",
    "streams/groups/base.py": f"{CONFORMANCE}/test_groups.py",
    "streams/groups/journal.py": f"{CONFORMANCE}/test_groups_model.py",
    # What stores that own their groups share: the same suites, which open them again and kill them.
    "streams/groups/local.py": f"{CONFORMANCE}/test_groups.py",
    "streams/groups/memory.py": f"{CONFORMANCE}/test_groups.py",
    "streams/groups/whereabouts.py": f"{CONFORMANCE}/test_groups.py",
    # What only a real Redis can show: what its scripts keep.
    "bus/redis/bus.py": f"{CONFORMANCE}/test_bus.py",
    "streams/redis/group_asking.py": "tests/integration/test_redis_groups.py",
    "streams/redis/group_calls.py": "tests/integration/test_redis_groups.py",
    "streams/redis/group_figures.py": "tests/integration/test_redis_groups_model.py",
    "streams/redis/group_laws.py": "tests/integration/test_redis_groups_model.py",
    "streams/redis/group_view_scripts.py": "tests/integration/test_redis_groups_model.py",
    "streams/redis/group_letters.py": "tests/integration/test_redis_groups.py",
    "streams/redis/group_run_parts.py": "tests/integration/test_redis_groups_model.py",
    "streams/redis/group_script_parts.py": "tests/integration/test_redis_groups_model.py",
    "streams/redis/group_scripts.py": "tests/integration/test_redis_groups_model.py",
    "streams/redis/group_take_script.py": "tests/integration/test_redis_groups_model.py",
    "streams/redis/group_turn_parts.py": "tests/integration/test_redis_groups_model.py",
    "streams/redis/group_waiting_parts.py": "tests/integration/test_redis_waiting.py",
    "streams/redis/group_watching.py": "tests/integration/test_redis_groups.py",
    "streams/redis/groups.py": "tests/integration/test_redis_groups.py",
    "streams/redis/record_parts.py": "tests/integration/test_redis_groups_model.py",
    "streams/redis/index_scripts.py": "tests/integration/test_redis_topics.py",
    "streams/redis/index_calls.py": f"{CONFORMANCE}/test_store_topics.py",
    "streams/redis/indexed_log.py": f"{CONFORMANCE}/test_store_topics.py",
    "streams/redis/script_parts.py": "tests/integration/test_redis_topics.py",
    "streams/redis/scripts.py": f"{CONFORMANCE}/test_store_model.py",
    "streams/redis/tending.py": "tests/integration/test_redis_topics.py",
    "streams/redis/search_scripts.py": "tests/integration/test_redis_topics.py",
    "streams/redis/store.py": f"{CONFORMANCE}/test_store.py",
    # What a store asks of it beside its transactions.
    "streams/sqlite/group_rows.py": f"{CONFORMANCE}/test_groups_model.py",
    "streams/sqlite/jobs.py": "tests/unit/streams/sqlite/test_group_commit.py",
    "streams/sqlite/queries.py": "tests/unit/streams/sqlite/test_store.py",
    "streams/sqlite/transaction.py": "tests/unit/streams/sqlite/test_writing.py",
    # What it does beside appending is most of all to purge.
    "streams/sqlite/upkeep.py": "tests/unit/streams/sqlite/test_purging.py",
}
"""Modules without a unit test of their own → the test file that holds them."""

OF_SEVERAL_MODULES = {
    "core/fanout/test_laws.py",
    "core/test_match_costs.py",
    "engine/test_following_model.py",
    "engine/test_snapshot_model.py",
    "streams/sqlite/test_damage.py",
}
"""Unit tests of what several modules promise together."""


def own_test(module: str) -> Path:
    folder, _, name = module.rpartition("/")
    return UNIT / folder / f"test_{name}"


def long_modules() -> set[str]:
    paths = [path for room in ROOMS for path in (ROOT / "gateway" / room).rglob("*.py")]
    return {
        str(path.relative_to(ROOT / "gateway"))
        for path in paths
        if path.name != "__init__.py" and len(path.read_text("utf-8").splitlines()) > SHORT_MODULE
    }


def test_every_module_that_is_not_short_has_its_test() -> None:
    without = {module for module in long_modules() if not own_test(module).is_file()}
    assert sorted(without - HELD_ELSEWHERE.keys()) == []


def test_the_list_of_what_is_held_elsewhere_is_no_longer_than_it_must_be() -> None:
    needless = {each for each in HELD_ELSEWHERE if each not in long_modules() or own_test(each).is_file()}
    assert sorted(needless) == []


def test_what_holds_a_module_is_there() -> None:
    assert [path for path in set(HELD_ELSEWHERE.values()) if not (ROOT / path).is_file()] == []


def test_every_unit_test_of_these_rooms_is_named_after_a_module() -> None:
    tests = {str(path.relative_to(UNIT)) for room in ROOMS for path in (UNIT / room).rglob("test_*.py")}
    lost = {
        test
        for test in tests
        if not (ROOT / "gateway" / test).with_name(test.rpartition("/test_")[2]).is_file()
    }
    assert sorted(lost) == sorted(OF_SEVERAL_MODULES)
