"""Models that are there already: found, registered, changed under a name, gone and back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from tests.contract.engines_support import demo_model
from tests.story.houses import settings
from tests.story.neighbours import A, B, Neighbour, offer
from tests.story.stage import name, task

from arbiter.app import open_house
from arbiter.clock import ManualClock
from arbiter.errors import ArbiterError, LoadFailed, NothingThere, ServerGone, UnknownModel
from arbiter.gateway.control_discovery import report_view
from arbiter.house import House
from arbiter.refs import VersionId
from arbiter.registry.discovery import Folder, look_into
from arbiter.registry.registry import Standing
from arbiter.swap.found_files import FoundFiles
from arbiter.swap.scouting import Report


@dataclass
class Street:
    """A house with neighbours."""

    house: House
    clock: ManualClock
    neighbour: Neighbour

    async def look(self, **how: object) -> dict[str, str]:
        """What became of each model: its name at its server, and in a word."""
        report = await self.report(**how)
        return {f"{one.model} {one.where[-4:]}": one.what for one in report.adopted}

    async def report(self, **how: object) -> Report:
        """Look once."""
        return await self.house.scout.look(**how)  # type: ignore[arg-type]  # a test's shorthand

    async def watched(self, times: int) -> list[Report]:
        """What a watch tells, until it has told so often; the clock moves on as it waits."""
        told: asyncio.Queue[Report] = asyncio.Queue()
        self.house.scout.open(told.put_nowait)
        reports: list[Report] = []
        while len(reports) < times:
            waiting = asyncio.create_task(told.get())
            while not waiting.done():
                await self.house.database.settle()
                self.clock.jump(1.0)
            reports.append(waiting.result())
        return reports

    def names(self) -> dict[str, str]:
        """Every name with the first digit of its content."""
        registry = self.house.registry
        return {
            one.name: registry.version(one.version).artifact.content_digest[7]
            for one in registry.names()
        }

    def version(self, model: str) -> VersionId:
        """What a name means now."""
        return self.house.registry.resolve(name(model)).version


@asynccontextmanager
async def street(data_dir: Path, neighbour: Neighbour, **more: object) -> AsyncIterator[Street]:
    clock = ManualClock()
    given = settings(
        data_dir,
        discovery__servers=[A, B],
        discovery__usual=False,
        aliases={"fast": "ant", "primary": "bee"},
        **more,
    )
    async with open_house(
        given, clock=clock, dice=Random(1), engines=lambda _: [neighbour]
    ) as house:
        yield Street(house=house, clock=clock, neighbour=neighbour)


async def test_what_servers_offer_is_registered_with_the_aliases_that_wait_for_it(
    tmp_path: Path,
) -> None:
    neighbour = Neighbour(servers={A: [offer("ant", "a"), offer("bee", "b")]})
    async with street(tmp_path, neighbour) as here:
        assert await here.look() == {"ant 7001": "registered", "bee 7001": "registered"}
        assert here.names() == {"ant": "a", "bee": "b", "fast": "a", "primary": "b"}
        assert (await here.house.ask("hello", model="primary")).text == "bee at 7001"
        assert (await here.house.ask("hello")).text in {"ant at 7001", "bee at 7001"}
        assert await here.look() == {"ant 7001": "known", "bee 7001": "known"}


async def test_nothing_is_registered_when_the_settings_say_so(tmp_path: Path) -> None:
    neighbour = Neighbour(servers={A: [offer("ant", "a")]})
    async with street(tmp_path, neighbour, discovery__register_found="none") as here:
        assert await here.look() == {"ant 7001": "shown"}
        assert here.names() == {}
        assert await here.look(register="all") == {"ant 7001": "registered"}


async def test_what_is_not_there_is_told_with_the_reason(tmp_path: Path) -> None:
    neighbour = Neighbour(strangers=frozenset({A}))
    async with street(tmp_path, neighbour) as here:
        told = [one.trouble for one in (await here.report()).survey.servers]
        assert told == [f"A web page answers at {A}.", f"Nothing listens at {B}."]


async def test_the_same_name_at_two_servers_with_other_content_is_two_models(
    tmp_path: Path,
) -> None:
    neighbour = Neighbour(servers={A: [offer("ant", "a")], B: [offer("ant", "b")]})
    async with street(tmp_path, neighbour) as here:
        await here.look()
        assert here.names() == {"ant": "a", "ant-7002": "b", "fast": "a"}
        assert (await here.house.ask("hello", model="ant-7002")).text == "ant at 7002"


async def test_a_model_that_two_servers_offer_is_one_and_outlives_either(tmp_path: Path) -> None:
    neighbour = Neighbour(servers={A: [offer("ant", "a")], B: [offer("ant", "a")]})
    async with street(tmp_path, neighbour) as here:
        await here.look()
        assert here.names() == {"ant": "a", "fast": "a"}
        assert (await here.house.ask("hello", model="ant")).text == "ant at 7001"
        neighbour.stop(A)
        assert (await here.house.ask("hello", model="ant")).text == "ant at 7002"


async def test_auto_goes_on_with_what_is_still_there(tmp_path: Path) -> None:
    many = [offer(f"ant-{n}", str(n)) for n in range(8)]
    neighbour = Neighbour(servers={A: many, B: [offer("bee", "b")]})
    async with street(tmp_path, neighbour) as here:
        await here.look()
        neighbour.stop(A)
        for _ in range(3):
            assert (await here.house.ask("hello")).text == "bee at 7002"
        neighbour.stop(B)
        with pytest.raises(ServerGone):
            await here.house.ask("hello")
        with pytest.raises(NothingThere, match=r"ant-7: http.* server that offers this model is"):
            await here.house.ask("hello")


async def test_a_server_that_is_back_is_a_choice_again_at_once(tmp_path: Path) -> None:
    neighbour = Neighbour(servers={A: [offer("ant", "a")]})
    async with street(tmp_path, neighbour) as here:
        await here.look()
        await here.house.ask("hello")
        neighbour.stop(A)
        with pytest.raises(ServerGone):
            await here.house.ask("hello", model="ant")
        neighbour.servers[A] = [offer("ant", "a")]
        await here.look()
        assert (await here.house.ask("hello")).text == "ant at 7001"


async def test_a_model_that_its_server_no_longer_offers_is_no_choice(tmp_path: Path) -> None:
    neighbour = Neighbour(servers={A: [offer("ant", "a"), offer("bee", "b")]})
    async with street(tmp_path, neighbour) as here:
        await here.look()
        neighbour.servers[A] = [offer("bee", "b")]
        with pytest.raises(LoadFailed, match="is not what it was"):
            await here.house.ask("hello", model="ant")
        await here.look()
        assert (await here.house.ask("hello")).text == "bee at 7001"
        dropped = here.house.select().dropped
        assert [one.reason for one in dropped] == [f"{A}: it no longer offers ant"]


async def test_a_name_that_was_removed_stays_removed(tmp_path: Path) -> None:
    neighbour = Neighbour(servers={A: [offer("ant", "a"), offer("bee", "b")]})
    async with street(tmp_path, neighbour) as here:
        await here.look()
        for gone in ("fast", "ant"):
            await here.house.admission.remove_model(name(gone))
        await here.look()
        assert here.names() == {"bee": "b", "primary": "b"}


async def test_a_tag_with_other_content_is_a_new_version_in_the_place_of_the_old(
    tmp_path: Path,
) -> None:
    neighbour = Neighbour(servers={A: [offer("ant", "a")]})
    async with street(tmp_path, neighbour) as here:
        await here.look()
        await here.house.ask("hello", model="ant")
        old = here.version("ant")
        neighbour.servers[A] = [offer("ant", "c")]
        with here.house.announcer.listening() as heard:
            assert await here.look() == {"ant 7001": "changed"}
        assert here.names() == {"ant": "c", "ant-20260101": "c", "fast": "c"}
        new = here.house.registry.resolve(name("ant"))
        assert new.predecessor == old
        assert here.house.registry.version(old).standing is Standing.RETIRED
        assert (await anext(heard.stream())).kind == "instance.draining"
        assert (await here.house.ask("hello", model="fast")).reply.decided.version == new.version


async def test_evidence_is_not_carried_over_to_other_content_under_the_same_tag(
    tmp_path: Path,
) -> None:
    neighbour = Neighbour(servers={A: [offer("ant", "a")]})
    async with street(tmp_path, neighbour) as here:
        await here.look()
        await here.house.admission.add_task(task("chat", cases=12))
        old = here.house.registry.resolve(name("ant"))
        await here.house.admission.calibrate(old, name("ant"))
        assert here.house.profiles.get(old.version, task("chat").name).graded == 12
        neighbour.servers[A] = [offer("ant", "c")]
        await here.look()
        new = here.version("ant")
        assert here.house.profiles.get(new, task("chat").name).graded == 0
        assert here.house.profiles.get(old.version, task("chat").name).graded == 12


async def test_what_was_found_has_its_graded_cases_run_in_idle_time(tmp_path: Path) -> None:
    neighbour = Neighbour(servers={A: [offer("ant", "a")]})
    async with street(tmp_path, neighbour) as here:
        await here.look()
        await here.house.admission.add_task(task("chat", cases=12))
        with here.house.announcer.listening() as heard:
            here.clock.jump(here.house.settings.calibration.idle_s)
            await anext(e async for e in heard.stream() if e.kind == "calibration.done")
        graded = here.house.profiles.get(here.version("ant"), task("chat").name)
        assert graded.graded == 12


async def test_old_content_under_another_tag_keeps_its_name_until_a_swap(tmp_path: Path) -> None:
    neighbour = Neighbour(servers={A: [offer("ant", "a")]})
    async with street(tmp_path, neighbour) as here:
        await here.look()
        neighbour.servers[A] = [offer("ant", "c"), offer("ant-until-20260101", "a")]
        assert await here.look() == {
            "ant-until-20260101 7001": "known",
            "ant 7001": "registered",
        }
        assert here.names() == {"ant": "a", "ant-20260101": "c", "fast": "a"}
        told = await here.house.ask("hello", model="ant")
        assert told.text == "ant-until-20260101 at 7001"
        assert (await here.house.ask("hello", model="ant-20260101")).text == "ant at 7001"


async def test_a_rollout_whose_stable_version_is_gone_is_aborted_and_the_name_goes_on(
    tmp_path: Path,
) -> None:
    neighbour = Neighbour(servers={A: [offer("ant", "a"), offer("bee", "b")]})
    async with street(tmp_path, neighbour) as here:
        await here.look()
        stored = await here.house.swap("fast", "bee")
        neighbour.servers[A] = [offer("ant", "c"), offer("bee", "b")]
        await here.look()
        phase = (await here.house.controller.find(stored.rollout.id)).rollout.phase
        assert phase.value == "aborted"
        assert here.names()["fast"] == "c"


async def test_where_a_version_was_found_survives_a_restart(tmp_path: Path) -> None:
    neighbour = Neighbour(servers={B: [offer("ant", "a")]})
    async with street(tmp_path, neighbour) as here:
        await here.look()
    async with street(tmp_path, Neighbour(servers={B: [offer("ant", "a")]})) as here:
        assert (await here.house.ask("hello", model="ant")).text == "ant at 7002"


async def test_one_model_of_a_server_is_registered_by_hand(tmp_path: Path) -> None:
    neighbour = Neighbour(servers={A: [offer("ant", "a")]})
    async with street(tmp_path, neighbour) as here:
        added = await here.house.adoption.add(A, "ant", name("insect"))
        assert here.version("insect") == added.version
        with pytest.raises(UnknownModel, match=r"offers no 'wasp'.*It offers: ant"):
            await here.house.adoption.add(A, "wasp", name("wasp"))
        with pytest.raises(ServerGone, match="Nothing listens"):
            await here.house.adoption.add(B, "ant", name("other"))


async def test_model_files_of_a_folder_are_found_and_what_is_none_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "publisher"
    folder.mkdir(parents=True)
    (folder / "sparrow.gguf").write_bytes(demo_model().read_bytes())
    (folder / "broken.gguf").write_bytes(b"GGUF and then nothing")
    (folder / "big-00002-of-00003.gguf").write_bytes(b"")
    (folder / "twin.gguf").symlink_to(folder / "sparrow.gguf")
    neighbour = Neighbour()
    async with street(
        tmp_path / "data", neighbour, discovery__folders=[str(tmp_path / "models"), "/nowhere"]
    ) as here:
        report = await here.report()
        assert {one.model: one.what for one in report.adopted} == {
            "big-00002-of-00003.gguf": "trouble",
            "broken.gguf": "trouble",
            "sparrow.gguf": "registered",
        }
        assert report.survey.folders[1].trouble == "There is no such folder."
        assert len(here.names()) == 1
        again = {one.model: one.what for one in (await here.report()).adopted}
        assert again["sparrow.gguf"] == "known"


async def test_a_silent_server_is_told_and_does_not_hold_up_the_others(tmp_path: Path) -> None:
    neighbour = Neighbour(servers={A: [offer("ant", "a")]}, silent=frozenset({B}))
    async with street(tmp_path, neighbour) as here:
        looking = asyncio.create_task(here.report())
        await neighbour.asked_in_vain.wait()
        here.clock.jump(3.0)
        report = await looking
        assert [one.model for one in report.adopted] == ["ant"]
        trouble = report.survey.servers[1].trouble
        assert trouble is not None
        assert trouble.startswith("It did not answer within")


async def test_a_house_does_not_find_itself(tmp_path: Path) -> None:
    async with street(tmp_path, Neighbour(), door__port=7002) as here:
        looked_at = [one.address.url for one in (await here.report()).survey.servers]
        assert looked_at == [A]


async def test_content_that_returns_to_its_tag_brings_the_name_back_to_it(tmp_path: Path) -> None:
    neighbour = Neighbour(servers={A: [offer("ant", "a")]})
    async with street(tmp_path, neighbour) as here:
        await here.look()
        first = here.version("ant")
        neighbour.servers[A] = [offer("ant", "b")]
        await here.look()
        neighbour.servers[A] = [offer("ant", "a")]
        assert await here.look() == {"ant 7001": "changed"}
        assert here.version("ant") == here.version("fast") == first
        assert here.house.registry.version(first).standing is Standing.ACTIVE
        assert (await here.house.ask("hello", model="ant")).text == "ant at 7001"
        assert (await here.house.ask("hello")).text == "ant at 7001"


async def test_a_tag_that_becomes_another_tag_s_content_takes_its_name_along(
    tmp_path: Path,
) -> None:
    neighbour = Neighbour(servers={A: [offer("ant", "a"), offer("bee", "b")]})
    async with street(tmp_path, neighbour) as here:
        await here.look()
        neighbour.servers[A] = [offer("ant", "b"), offer("bee", "b")]
        assert await here.look() == {"ant 7001": "changed", "bee 7001": "known"}
        assert here.names() == {"ant": "b", "bee": "b", "fast": "b", "primary": "b"}
        assert (await here.house.ask("hello", model="fast")).text.endswith("at 7001")


async def test_a_place_that_is_gone_keeps_no_name_on_content_that_nobody_serves(
    tmp_path: Path,
) -> None:
    neighbour = Neighbour(servers={A: [offer("ant", "a")], B: [offer("ant", "a")]})
    async with street(tmp_path, neighbour) as here:
        await here.look()
        neighbour.stop(B)
        neighbour.servers[A] = [offer("ant", "c")]
        await here.look()
        assert here.names()["ant"] == "c"
        assert (await here.house.ask("hello", model="ant")).text == "ant at 7001"


async def test_a_server_that_only_a_registered_model_names_is_looked_after(tmp_path: Path) -> None:
    elsewhere = "http://127.0.0.1:7009"
    neighbour = Neighbour(servers={elsewhere: [offer("ant", "a")]})
    async with street(tmp_path, neighbour) as here:
        await here.house.adoption.add(elsewhere, "ant", name("ant"))
        neighbour.stop(elsewhere)
        await here.look()
        with pytest.raises(ArbiterError, match="Nothing listens"):
            await here.house.ask("hello")
        neighbour.servers[elsewhere] = [offer("ant", "a")]
        await here.look()
        assert (await here.house.ask("hello")).text == "ant at 7009"


async def test_switched_off_it_still_looks_after_servers_of_registered_models(
    tmp_path: Path,
) -> None:
    neighbour = Neighbour(servers={A: [offer("ant", "a")], B: [offer("bee", "b")]})
    async with street(tmp_path, neighbour, discovery__enabled=False) as here:
        await here.house.adoption.add(A, "ant", name("ant"))
        reports = await here.watched(1)
        assert [one.address.url for one in reports[0].survey.servers] == [A]


async def test_a_folder_that_cannot_be_looked_into_ends_nothing(tmp_path: Path) -> None:
    far = "/" + "x" * 5000
    neighbour = Neighbour(servers={A: [offer("ant", "a")]})
    async with street(tmp_path / "data", neighbour, discovery__folders=[far]) as here:
        report = await here.report()
        assert [one.what for one in report.adopted] == ["registered"]
        trouble = report.survey.folders[0].trouble
        assert trouble is not None
        assert "File name too long" in trouble


async def test_a_name_that_would_draw_on_a_terminal_is_shown_as_text(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "bad\udcff\n.gguf").write_bytes(b"")
    neighbour = Neighbour(servers={A: [offer("ant\x1b[2J", "a")]})
    async with street(tmp_path / "data", neighbour, discovery__folders=[str(folder)]) as here:
        shown = [one.model for one in (await here.report()).adopted]
        assert shown == ["ant?[2J", "bad? .gguf"]
        view = report_view(await here.report(), here.house.registry)
        assert "ant?[2J" in json.dumps(view)
        json.dumps(view).encode()


async def test_a_fault_in_one_look_does_not_end_the_watch(tmp_path: Path) -> None:
    neighbour = Neighbour(servers={A: [offer("ant", "a")]}, faults=1)
    async with street(tmp_path, neighbour) as here:
        reports = await here.watched(1)
        assert [one.what for one in reports[0].adopted] == ["registered"]


async def test_a_file_is_read_once_though_it_is_found_again_and_again(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    for copy in ("sparrow", "twin"):
        (folder / f"{copy}.gguf").write_bytes(demo_model().read_bytes())
    async with street(tmp_path / "data", Neighbour()) as here:
        found = FoundFiles(registry=here.house.registry, intake=here.house.intake)
        files = look_into(Folder(path=folder, label="a folder")).files
        assert [await found.known(file) for file in files] == [None, None]
        assert [(await found.register(file)).what for file in files] == ["registered", "known"]
        for file in files:
            known = await found.known(file)
            assert known is not None
            assert known.what == "known"
