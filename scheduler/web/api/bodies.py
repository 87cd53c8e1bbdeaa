"""What requests carry. An unknown key is an error: it would be ignored otherwise."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

PRINTABLE = r"^[^\x00-\x1f\x7f]+$"
Line = Annotated[str, StringConstraints(min_length=1, max_length=1_000, pattern=PRINTABLE)]
Text = Annotated[str, StringConstraints(max_length=1024 * 1024)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class RunBody(Body):
    task_of: Line | None = Field(default=None, description="Use the text of this run, JOB:N.")


class PauseBody(Body):
    reason: Line | None = None
    until: Line | None = Field(default=None, description="When it resumes, such as +2h.")
    next: bool = Field(default=False, description="Skip only the next slot.")


class EditBody(Body):
    """Where an edit goes. Default: the working tree."""

    commit: bool = Field(default=False, description="Commit the edit.")
    branch: Line | None = Field(default=None, description="Commit to this branch, for a person to merge.")
    push: bool = Field(default=False, description="Publish the branch, in a root that follows a remote.")
    message: Text | None = Field(default=None, description="Commit message.")


class UpdateBody(EditBody):
    set: dict[str, Any] = Field(default={}, description="Keys of the job; nested ones with dots.")
    unset: list[Line] = Field(default=[], description="Keys to delete.")
    task: Text | None = Field(default=None, description="The new text.")


class CreateBody(EditBody):
    id: Line
    set: dict[str, Any] = Field(default={}, description="Keys of the job.")
    task: Text | None = None
    path: Line | None = Field(default=None, description="File. Default: in the folder of job files.")


class DeleteBody(EditBody):
    with_task: bool = Field(default=False, description="Delete its task file too.")


class MoveBody(EditBody):
    path: Line = Field(description="New file.")


class RollbackBody(EditBody):
    to: Line = Field(description="JOB:N, text:SHA or commit:SHA.")


class SyncBody(Body):
    confirm: Line | None = Field(default=None, description="Token of the guard: archive exactly the jobs it named.")
