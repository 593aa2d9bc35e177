"""What exists: versions, the names that point at them, and where they came from.

A version is immutable and known by its content; a name is mutable and points at one version. A
registered model's name and an alias are the same thing in the same table. Which version answers
under a name is changed only by `move`, which the swap controller calls, and by `set_alias`, which
a person calls.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import msgspec

from arbiter.clock import Clock
from arbiter.errors import Conflict, NameTaken, StillInUse, UnknownAlias, UnknownModel
from arbiter.ledger import Kind as Entered
from arbiter.ledger import Ledger, Note
from arbiter.refs import ModelName, VersionId, parse_name, short
from arbiter.registry.artifact import Artifact
from arbiter.registry.kept import Kept
from arbiter.registry.moves import Move, logged, move_note, read_move
from arbiter.registry.name import Kind, Name, arms, meant, with_digest
from arbiter.registry.notes import registration_notes
from arbiter.registry.places import Places
from arbiter.registry.provenance import Claim, Provenance, provenance_of
from arbiter.registry.version import Standing, Version
from arbiter.storage.database import Database, Statement

__all__ = ["Kind", "Name", "Registry", "Standing", "Version"]


class Registry:
    """Every version and name, in memory and in the database. The only writer of both."""

    def __init__(self, database: Database, clock: Clock, ledger: Ledger) -> None:
        self._database = database
        self._clock = clock
        self._ledger = ledger
        self._versions: dict[VersionId, Version] = {}
        self._names: dict[ModelName, Name] = {}
        self._kept = Kept(clock, self._is_retired)
        self.places = Places(database, clock)
        self.revision = 0
        """Grows with every change, so that what was derived from the registry can be kept."""

    async def load(self) -> None:
        """Read what is kept."""
        await self.places.load()
        for version, artifact, predecessor, standing, at in await self._database.read(
            "list_versions"
        ):
            found = Version(
                version=VersionId(str(version)),
                artifact=msgspec.json.decode(str(artifact), type=Artifact),
                predecessor=_version(predecessor),
                standing=Standing(str(standing)),
                registered_at=str(at),
            )
            self._versions[found.version] = found
        for name, version, kind in await self._database.read("list_names"):
            self._names[ModelName(str(name))] = Name(
                name=ModelName(str(name)), version=VersionId(str(version)), kind=Kind(str(kind))
            )
        self._kept.clear()
        for version, until, left in await self._database.read("list_kept"):
            seconds = self._kept.seconds_until(str(until)) if left is None else float(left)
            self.keep(VersionId(str(version)), seconds)

    def names(self) -> tuple[Name, ...]:
        """Every name, sorted."""
        return tuple(self._names[name] for name in sorted(self._names))

    def versions(self) -> tuple[Version, ...]:
        """Every version, the oldest first."""
        return tuple(self._versions.values())

    def names_of(self, version: VersionId) -> tuple[ModelName, ...]:
        """The names that point at a version now, sorted."""
        return tuple(sorted(n.name for n in self._names.values() if n.version == version))

    def arms(self, first: Collection[ModelName] = ()) -> dict[VersionId, ModelName]:
        """Every active version that has a name, with the one name that `auto` picks it by.

        A version is one arm however many names it has. The name is one of `first` if it can be
        (aliases with a rollout going on), else a role, else another alias, else a model's name.
        """
        return arms(self._names, self._versions, first)

    def version(self, version: VersionId) -> Version:
        """The version of this id. Raises `UnknownModel`."""
        try:
            return self._versions[version]
        except KeyError as error:
            raise UnknownModel(f"No version {short(version)} is registered.") from error

    def resolve(self, name: ModelName) -> Version:
        """The version that a name points at now. Raises `UnknownModel` that lists the names."""
        return self._versions[self._names[self.meant(name)].version]

    def meant(self, name: ModelName) -> ModelName:
        """The registered name that somebody means: the one that they wrote, or its ``:latest``.

        Ollama's clients leave that tag out, or add it where there is none.
        Whatever is kept by name is kept by the registered
        one, or a request for `plain` would pass by the rollout of `plain:latest`. Raises
        `UnknownModel` that lists the names.
        """
        return meant(name, self._names)

    def pinned(self, name: ModelName, digest_prefix: str) -> Version:
        """The version ``name@digest``: any registered one with this digest.

        The name must exist, so that a typing mistake in it is not overlooked. Raises
        `UnknownModel`, or `InvalidField` when the digits fit several versions.
        """
        self.resolve(name)
        return with_digest(digest_prefix, self._versions.values())

    async def add(
        self,
        artifact: Artifact,
        name: ModelName,
        *,
        predecessor: VersionId | None = None,
        claim: Claim | None = None,
        who: str = "user",
    ) -> Version:
        """Register an artifact under a name. The same content twice is one version.

        claim: what a person says of its making; its base is also kept as the version that it
        stands for now, if it is a registered name. A claim about a version that is known already
        is written beside the earlier ones.

        Raises `NameTaken` when the name stands for other content: what answers under a name
        changes by a swap, not by adding.
        """
        parse_name(name)
        taken = self._names.get(name)
        if taken is not None and taken.version != artifact.version:
            raise NameTaken(
                f"{name!r} already stands for {short(taken.version)}.",
                hint=f"Add the new file under another name, then: arbiter swap {name} NEWNAME.",
                param="name",
            )
        now = self._clock.now().isoformat()
        known = self._versions.get(artifact.version)
        before = known.predecessor if known is not None else predecessor
        statements = [
            Statement(
                query="add_version",
                parameters=(
                    artifact.version,
                    artifact.format,
                    artifact.path,
                    msgspec.json.encode(artifact).decode(),
                    before,
                    now,
                ),
            )
        ]
        if taken is None:
            statements.append(
                Statement(
                    query="add_name", parameters=(name, artifact.version, Kind.MODEL.value, now)
                )
            )
            statements.append(
                logged(
                    Move(
                        name=name,
                        from_version=None,
                        to_version=artifact.version,
                        who=who,
                        why="registered",
                        at=now,
                    )
                )
            )
        notes = registration_notes(
            artifact,
            name,
            predecessor=before,
            known_at=None if known is None else known.artifact.path,
            is_new_name=taken is None,
            claim=None if claim is None else self._with_base(claim),
            who=who,
        )
        await self._ledger.write(*statements, notes=notes)
        version = Version(
            version=artifact.version,
            artifact=artifact,
            predecessor=before,
            standing=known.standing if known is not None else Standing.ACTIVE,
            registered_at=known.registered_at if known is not None else now,
        )
        self.revision += 1
        self._versions[version.version] = version
        if taken is None:
            self._names[name] = Name(name=name, version=version.version, kind=Kind.MODEL)
        return version

    def _with_base(self, claim: Claim) -> Claim:
        base = None if claim.base is None else self._names.get(ModelName(claim.base))
        return claim if base is None else replace(claim, base_version=base.version)

    async def set_alias(
        self, alias: ModelName, target: ModelName, *, who: str, why: str = "set by hand"
    ) -> Name:
        """Point an alias at what another name points at now. A person's word: no rollout.

        The version becomes active again, whatever became of it before.
        """
        parse_name(alias, what="alias")
        version = self.resolve(target)
        if version.standing is Standing.CANDIDATE:
            raise Conflict(
                f"{target} is the candidate of a rollout.",
                hint="Wait for its end, or abort it: arbiter rollouts abort ID.",
            )
        now = self._clock.now().isoformat()
        old = self._names.get(alias)
        change = (
            Statement(query="add_name", parameters=(alias, version.version, Kind.ALIAS.value, now))
            if old is None
            else Statement(
                query="move_name",
                parameters=(version.version, now, alias, old.version),
                must_change=True,
            )
        )
        move = Move(
            name=alias,
            from_version=None if old is None else old.version,
            to_version=version.version,
            who=who,
            why=why,
            at=now,
        )
        written = await self._ledger.write(
            change,
            logged(move),
            Statement(query="set_standing", parameters=(Standing.ACTIVE.value, version.version)),
            notes=(move_note(move, Entered.ALIAS_SET),),
        )
        if not written.applied:
            raise Conflict(f"{alias} was moved at the same time; look and try again.")
        self.revision += 1
        self._stand(version.version, Standing.ACTIVE)
        kind = Kind.ALIAS if old is None else old.kind
        self._names[alias] = Name(name=alias, version=version.version, kind=kind)
        return self._names[alias]

    async def remove(self, name: ModelName, *, who: str = "user") -> None:
        """Forget a name. The file, the version's record and what was measured all stay.

        Raises `UnknownAlias`, or `StillInUse` while the version is in a rollout.
        """
        found = self._names.get(name)
        if found is None:
            raise UnknownAlias(f"No model or alias is called {name!r}.", param="name")
        if self._versions[found.version].standing is Standing.CANDIDATE:
            raise StillInUse(
                f"{name} is the candidate of a rollout.", hint="Abort the rollout first."
            )
        now = self._clock.now().isoformat()
        move = Move(
            name=name,
            from_version=found.version,
            to_version=None,
            who=who,
            why="removed",
            at=now,
        )
        written = await self._ledger.write(
            Statement(query="remove_name", parameters=(name,), must_change=True),
            logged(move),
            notes=(move_note(move, Entered.NAME_REMOVED),),
        )
        if not written.applied:
            raise UnknownAlias(f"No model or alias is called {name!r}.", param="name")
        self.revision += 1
        del self._names[name]

    async def move(
        self,
        move: Move,
        *,
        standings: Mapping[VersionId, Standing],
        also: Sequence[Statement] = (),
        notes: Sequence[Note] = (),
    ) -> None:
        """Point a name at another version, together with whatever else must be true with it.

        notes: what the ledger is told beside the move.

        All of it is one transaction: a kill leaves both or neither. Raises `Conflict` when the
        name no longer points at the version that the move starts from, or another part of it is
        refused.
        """
        if move.from_version is None or move.to_version is None:
            raise Conflict("A name moves from one version to another.")
        written = await self._ledger.write(
            Statement(
                query="move_name",
                parameters=(move.to_version, move.at, move.name, move.from_version),
                must_change=True,
            ),
            logged(move),
            *_standing_statements(standings),
            *also,
            notes=(move_note(move, Entered.NAME_MOVED), *notes),
        )
        if not written.applied:
            raise Conflict(f"{move.name} no longer points at {short(move.from_version)}.")
        self.revision += 1
        self._names[move.name] = replace(self._names[move.name], version=move.to_version)
        if move.keep_until is not None:
            self.keep(move.from_version, self._kept.seconds_until(move.keep_until))
        for version, standing in standings.items():
            self._stand(version, standing)

    async def stand(
        self,
        standings: Mapping[VersionId, Standing],
        *,
        also: Sequence[Statement] = (),
        notes: Sequence[Note] = (),
    ) -> None:
        """Change what versions may be used for, together with whatever must be true with it.

        notes: what the ledger is told of it. Raises `Conflict` when any part is refused; then
        nothing has changed.
        """
        written = await self._ledger.write(*_standing_statements(standings), *also, notes=notes)
        if not written.applied:
            raise Conflict("Something else changed this at the same time; look and try again.")
        for version, standing in standings.items():
            self._stand(version, standing)

    async def descend(self, version: VersionId, predecessor: VersionId) -> None:
        """Note that a version is the successor of another, unless that is known already."""
        if self._versions[version].predecessor is None and version != predecessor:
            await self._database.write(
                Statement(query="set_predecessor", parameters=(predecessor, version))
            )
            self.revision += 1
            self._versions[version] = replace(self._versions[version], predecessor=predecessor)

    def _stand(self, version: VersionId, standing: Standing) -> None:
        self.revision += 1
        self._versions[version] = replace(self._versions[version], standing=standing)

    def _is_retired(self, version: VersionId) -> bool:
        return self._versions[version].standing is Standing.RETIRED

    def kept_until(self, version: VersionId) -> datetime | None:
        """Until when a replaced version is kept warm, if the house stays open so long.

        None: it was not replaced, it is in use again, or its time is over.
        """
        return self._kept.until(version)

    def kept(self) -> tuple[VersionId, ...]:
        """Every version that is kept warm now, the one with the most time left first."""
        return self._kept.versions()

    def keep(self, version: VersionId, left_s: float | None) -> None:
        """Keep a replaced version for so many more seconds; None: no longer.

        A time that is left, and no date: a clock that is set changes nothing about it.
        """
        self._kept.keep(version, left_s)

    def no_longer_kept(self) -> tuple[VersionId, ...]:
        """The replaced versions that were kept and no longer are; each is named once."""
        return self._kept.over()

    async def moves(self, name: ModelName) -> tuple[Move, ...]:
        """Everything that a name ever pointed at, the oldest first."""
        return tuple(read_move(row) for row in await self._database.read("list_moves", (name,)))

    async def provenance(self, version: VersionId) -> Provenance:
        """What people claim of a version's making, and what was read from its file."""
        entries = await self._ledger.of(Entered.PROVENANCE_CLAIMED, Entered.PROVENANCE_READ)
        return provenance_of(version, entries)


def _standing_statements(standings: Mapping[VersionId, Standing]) -> tuple[Statement, ...]:
    return tuple(
        Statement(query="set_standing", parameters=(standing.value, version), must_change=True)
        for version, standing in standings.items()
    )


def _version(value: object) -> VersionId | None:
    return None if value is None else VersionId(str(value))
