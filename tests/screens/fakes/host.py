"""No process of its own: the engine is where the wizard is, unless a test says otherwise."""

from __future__ import annotations

from dataclasses import dataclass

from screens.step_services.host import RunningHost


@dataclass
class FakeHost:
    """HostServices for tests."""

    hosts: tuple[RunningHost, ...] = ()
    survives: bool = False
    read_only_because: str = ""
    let_run_calls: int = 0

    def running(self) -> tuple[RunningHost, ...]:
        return self.hosts

    def let_run(self) -> None:
        self.let_run_calls += 1
