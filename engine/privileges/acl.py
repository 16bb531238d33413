"""Access control lists as sets of single rights, and what turns one into another.

A right is what one grantor lets one grantee do (``aclexplode``). Several grantors may give the same
privilege, and each of their grants is taken back on its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

PUBLIC = ""
"""Stands for PUBLIC; no role can be called so."""


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One privilege from one role for another."""

    grantor: str
    grantee: str
    privilege: str


Acl = Mapping[Right, bool]
"""Each right, and whether its grantee may grant it on."""


@dataclass(frozen=True, slots=True)
class Change:
    """One GRANT or REVOKE."""

    is_grant: bool
    grantor: str
    grantee: str
    privileges: tuple[str, ...]
    option: bool
    """GRANT … WITH GRANT OPTION, REVOKE GRANT OPTION FOR …"""


def reowned(acl: Acl, old: str, new: str) -> dict[Right, bool]:
    """What ``ALTER … OWNER TO new`` makes of an object's list: the old owner's part becomes the new one's."""

    def renamed(name: str) -> str:
        return new if name == old else name

    return translated(acl, renamed, renamed)


def translated(
    acl: Acl, grantor: Callable[[str], str], grantee: Callable[[str], str | None]
) -> dict[Right, bool]:
    """The list with other names; a right whose grantee has none is left out."""
    result: dict[Right, bool] = {}
    for right, grantable in acl.items():
        receiver = PUBLIC if right.grantee == PUBLIC else grantee(right.grantee)
        if receiver is not None:
            key = Right(grantor(right.grantor), receiver, right.privilege)
            result[key] = result.get(key, False) or grantable
    return result


def only(acl: Acl, privileges: Iterable[str]) -> dict[Right, bool]:
    """The list without other privileges."""
    kept = frozenset(privileges)
    return {right: grantable for right, grantable in acl.items() if right.privilege in kept}


def changes(wanted: Acl, found: Acl, owner: str, may_revoke: Callable[[str], bool]) -> tuple[Change, ...]:
    """What turns ``found`` into ``wanted``, in an order that works.

    A right that somebody granted on is taken back after what he granted, and given before it.

    Args:
        wanted: How the list should be.
        found: How it is.
        owner: The object's owner, where all chains of grants begin.
        may_revoke: Whether a right of this grantee that is not wanted is taken away.
    """
    revoked = [right for right in found if right not in wanted and may_revoke(right.grantee)]
    unoptioned = [
        right
        for right, grantable in found.items()
        if grantable and wanted.get(right) is False and may_revoke(right.grantee)
    ]
    granted = [right for right in wanted if found.get(right) is None or (wanted[right] and not found[right])]
    depths = _depths(found, owner)
    taken = [*_gathered(False, False, revoked, depths), *_gathered(False, True, unoptioned, depths)]
    taken.sort(key=lambda one: -depths.get(one.grantor, 0))
    depths = _depths(wanted, owner)
    given = [
        *_gathered(True, False, [right for right in granted if not wanted[right]], depths),
        *_gathered(True, True, [right for right in granted if wanted[right]], depths),
    ]
    given.sort(key=lambda one: depths.get(one.grantor, 0))
    return (*taken, *given)


def _depths(acl: Acl, owner: str) -> dict[str, int]:
    """How many grants lie between the owner and each grantor."""
    depths = {owner: 0}
    while True:
        more = {
            right.grantee: depths[right.grantor] + 1
            for right, grantable in acl.items()
            if grantable and right.grantor in depths and right.grantee not in depths
        }
        if not more:
            return depths
        depths.update(more)


def _gathered(is_grant: bool, option: bool, rights: list[Right], depths: Mapping[str, int]) -> list[Change]:
    by_roles: dict[tuple[str, str], list[str]] = {}
    for right in sorted(rights, key=lambda one: (depths.get(one.grantor, 0), one)):
        by_roles.setdefault((right.grantor, right.grantee), []).append(right.privilege)
    return [
        Change(is_grant, grantor, grantee, tuple(privileges), option)
        for (grantor, grantee), privileges in by_roles.items()
    ]
