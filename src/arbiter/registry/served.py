"""A version that another program serves: what it is known by.

Where the server tells a digest of the content, that is the content's identity. Where it tells none,
a version is known by what the server claims of it: two models whose servers claim the same are
taken for one only at the same address, because a claim proves nothing about another machine.

Nothing here speaks to a server.
"""

from __future__ import annotations

from collections.abc import Mapping

from arbiter.engines.base import Offer, Place, content_of
from arbiter.refs import parse_version
from arbiter.registry.artifact import Artifact, KnownBy, name_hint, text_digest, version_of

TALKS = frozenset({"chat", "completion"})
"""What a model is taken to do whose server does not say: the servers' reason to be."""


def served_artifact(
    offer: Offer, place: Place, *, format_: str, options: Mapping[str, str] | None = None
) -> Artifact:
    """The artifact of an offer at a place.

    options: load-affecting and other options that change the output; part of the identity.
    Raises `InvalidField` when the server's digest is none.
    """
    given = dict(sorted((options or {}).items()))
    template = None if offer.template is None else text_digest(offer.template)
    content = content_of(offer, place.url)
    known_by: KnownBy = "claims"
    if offer.digest is not None:
        known_by = "server"
        parse_version(offer.digest)
    return Artifact(
        version=version_of(content, template, given),
        format=format_,
        path=f"{place.url}#{place.model}",
        size_bytes=offer.size_bytes,
        identity=None,
        known_by=known_by,
        content_digest=content,
        template_digest=template,
        architecture=offer.architecture,
        parameters=offer.parameters,
        quantization=offer.quantization,
        context_length=offer.context_length,
        capabilities=TALKS if offer.capabilities is None else offer.capabilities,
        licence=offer.licence,
        name_hint=name_hint(offer.model),
        provenance=dict(offer.details),
        options=given,
    )
