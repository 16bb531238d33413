"""Fills a provider's texts with what is known of one server."""

from __future__ import annotations

import re
from dataclasses import dataclass

from engine.providers.fix import Fix
from engine.providers.provider import NEEDS_RESTART, Change, Provider


@dataclass(frozen=True, slots=True)
class Advisor:
    """Says how things are changed on one server, for the role that looked at it."""

    provider: Provider
    host: str
    """Host name or address from the connection string."""

    role: str
    """The session's role, quoted."""

    database: str
    """Quoted."""

    is_superuser: bool
    is_admin: bool
    """Whether the role is a member of the provider's ``admin_role``, or a superuser."""

    @property
    def instance(self) -> str:
        """What the provider calls the server, or a placeholder."""
        pattern = self.provider.instance_pattern
        found = re.match(pattern, self.host) if pattern else None
        return self.provider.instance_name if found is None else found[1]

    def setting(self, name: str, wanted: str | int) -> Fix:
        """How ``name`` gets the value ``wanted`` (in the setting's base unit, without unit)."""
        change = self.provider.settings[name]
        parameter = change.parameter.format(setting=name)
        value = change.value.format(wanted=wanted)
        fix = self._fix(change, self.is_superuser, setting=name, parameter=parameter, value=value)
        if change.impossible:
            return fix
        needs_restart = NEEDS_RESTART[name] if change.restart is None else change.restart
        sql = fix.sql if needs_restart or not fix.sql else (*fix.sql, "select pg_catalog.pg_reload_conf()")
        return Fix(
            fix.words, sql, fix.applicable, fix.console, fix.cli, needs_restart, self._restart(needs_restart)
        )

    def right(self, name: str, **values: str) -> Fix:
        """How the role gets the right ``name``.

        Args:
            name: One of :data:`~engine.providers.provider.RIGHTS`.
            values: What that right's texts name beside the role, quoted as SQL needs it.
        """
        return self._fix(self.provider.rights[name], self.is_admin, **values)

    def own_sql(self, *statements: str) -> Fix:
        """What any PostgreSQL takes from a superuser or the provider's admin role."""
        return Fix(sql=statements, applicable=self.is_admin)

    def _restart(self, needed: bool) -> str:
        restart = self.provider.restart
        texts = (restart.words, restart.cli) if needed else ()
        return " · ".join(text.format(instance=self.instance) for text in texts if text)

    def _fix(self, change: Change, may_apply: bool, **values: str) -> Fix:
        known = {"role": self.role, "database": self.database, "instance": self.instance, **values}
        if change.impossible:
            return Fix(words=change.impossible.format(**known))
        return Fix(
            words=change.words.format(**known),
            sql=tuple(statement.format(**known) for statement in change.sql),
            applicable=may_apply and bool(change.sql),
            console=change.console.format(**known),
            cli=change.cli.format(**known),
        )
