"""What is sent to the API: the forms that several rooms share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from mitoyolo.web.models import MAX_ID

Id = Annotated[int, Field(gt=0, le=MAX_ID)]


class Body(BaseModel):
    """What is sent: a key that is not known is an error."""

    model_config = ConfigDict(extra="forbid")
