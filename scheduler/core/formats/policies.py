"""Groups of keys, as the values that a definition holds."""

from __future__ import annotations

from collections.abc import Sequence

from scheduler.core.formats.shapes import CatchUpShape, CheckShape, ExpectShape, RetryShape
from scheduler.core.values.channels import DEFAULT_DELIVER_ON, DeliverOn
from scheduler.core.values.spec import CHECK_TIMEOUT, CatchUp, CatchUpPolicy, CheckSpec, ExpectSpec, Retry


def retry_of(shape: RetryShape | None) -> Retry:
    given = {} if shape is None else {name: value for name, value in shape.model_dump().items() if value is not None}
    return Retry(**{**given, "on": tuple(given["on"])}) if given else Retry()


def catch_up_of(shape: CatchUpShape | None) -> CatchUp:
    return CatchUp() if shape is None else CatchUp(policy=CatchUpPolicy(shape.policy), within=shape.within)


def expect_of(shape: ExpectShape | None) -> ExpectSpec | None:
    return None if shape is None else ExpectSpec(result=shape.result, file=shape.file)


def deliver_on_of(names: Sequence[str] | None) -> tuple[DeliverOn, ...]:
    return DEFAULT_DELIVER_ON if names is None else tuple(DeliverOn(each) for each in names)


def check_of(shape: CheckShape | None) -> CheckSpec | None:
    if shape is None:
        return None
    return CheckSpec(
        runner=shape.runner or "",
        task=shape.task,
        task_source_path=shape.task_source_path,
        timeout=shape.timeout or CHECK_TIMEOUT,
        output=shape.output or "ignore",
    )
