"""Requests and responses of the HTTP API: pydantic models, from which its OpenAPI description is made.

The requests for rewards are in `lorerm.serving.reward_schemas`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeAlias, TypeVar
from urllib.parse import unquote

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from lorerm.data.ids import as_id
from lorerm.data.weights import SMALLEST_WEIGHT

MAX_DOCUMENTS, MAX_FEEDBACK, MAX_RESPONSES, MAX_CANDIDATES = 1000, 100, 100, 100
MAX_NUMBERS = 65_536
"""Maximum number of values in one embedding."""

# PostgreSQL stores no NUL character in a text.
_NAME = StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00]*$")
Name: TypeAlias = Annotated[str, _NAME]
"""An idempotency key."""

# Like a name, but with at least one character that is not white space.
_ID = StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00]*[^\s\x00][^\x00]*$")


def _as_id(value: object) -> str:
    return as_id(value, "the user's id")


UserId: TypeAlias = Annotated[str, _ID, BeforeValidator(_as_id, json_schema_input_type=Annotated[str, _ID] | int)]
"""A user id: text, or a whole number, which is the id of its digits (`lorerm.data.ids`)."""


def _id_in_path(value: object) -> str:
    return _as_id(unquote(value, errors="strict") if isinstance(value, str) else value)


def _check_segments(user: str) -> str:
    # A proxy that decodes and shortens paths would turn x/../ann into ann. Since ids with such segments are always
    # refused, a client notices the mistake before its request reaches another user.
    if {".", ".."} & set(re.split(r"[/\\]", user)):
        raise ValueError("an id with the segment . or .. cannot be in a path; send it in a body (see /v1/user)")
    return user


# The router receives a percent-encoded path, so that an id can contain an encoded slash. The id is decoded here.
UserInPath = Annotated[str, BeforeValidator(_id_in_path), _ID, AfterValidator(_check_segments)]


def _false_if_null(value: object) -> object:
    return False if value is None else value


Flag: TypeAlias = Annotated[bool, BeforeValidator(_false_if_null, json_schema_input_type=bool | None)]
"""A boolean; null is the same as false."""

_Body = TypeVar("_Body", bound="RequestBody")


class RequestBody(BaseModel):
    """A request's body, read from JSON."""

    @classmethod
    def from_json(cls: type[_Body], body: bytes) -> _Body:
        """Validate the bytes of a body. Pydantic decodes base64 when it reads JSON, but not in a parsed dictionary."""
        return cls.model_validate_json(body)


class StrictRequest(RequestBody):
    """A request in this server's own format. Unknown fields are rejected, so that a misspelt name is an error."""

    model_config = ConfigDict(strict=True, extra="forbid", use_attribute_docstrings=True)


class ResponsePart(BaseModel):
    """A response's body, or a part of it."""

    model_config = ConfigDict(use_attribute_docstrings=True)


# Texts and embeddings


class Message(StrictRequest):
    """One turn of a conversation.

    Its content is a text, or a list of parts of type `text`. Parts that are not text, and `tool_calls`, are an error,
    since only text is read. Other fields are ignored.
    """

    # The other fields are kept, so that `lorerm.data.conversation` reads messages here by the same rule as in files.
    model_config = ConfigDict(extra="allow")

    role: Literal["system", "user", "assistant", "tool"]
    content: str | Annotated[list[dict[str, Any]], Field(min_length=1, max_length=1000, fail_fast=True)] | None = None


# fail_fast ends the validation of a list at its first error: a body can have millions of errors, which would need
# gigabytes of memory.
Messages = Annotated[list[Message], Field(min_length=1, max_length=1000, fail_fast=True)]
Text: TypeAlias = str | Messages

_Numbers = Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(max_length=MAX_NUMBERS, fail_fast=True)]
Vector = Annotated[
    bytes | _Numbers,
    Field(union_mode="left_to_right"),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": MAX_NUMBERS},
                {"type": "string", "contentEncoding": "base64", "description": "little-endian float32"},
            ]
        }
    ),
]
"""An embedding: a list of numbers, or little-endian float32 bytes (base64 in JSON), which are decoded much faster."""


class TextDocument(StrictRequest):
    """A text in an object, the format of Jina's clients. Its other fields, for instance an id, are ignored."""

    model_config = ConfigDict(extra="ignore")

    text: str


class EmbeddingDocument(StrictRequest):
    """A response's embedding, computed by the client with the encoder that the model was trained on.

    Its other fields are ignored, except that a text beside the embedding is an error: only one of the two can be used.
    """

    model_config = ConfigDict(extra="ignore", val_json_bytes="base64", ser_json_bytes="base64")

    embedding: Vector
    text: SkipJsonSchema[None] = Field(None, exclude=True)


def _document_type(value: Any) -> str | None:  # noqa: ANN401 - anything that JSON can hold
    if isinstance(value, str):
        return "text"
    if isinstance(value, list):
        return "messages"
    if isinstance(value, dict) and value.get("embedding") is not None:
        return "embedding" if value.get("text") is None else None
    if isinstance(value, EmbeddingDocument):
        return "embedding"
    return "object" if isinstance(value, dict | BaseModel) else None


_NO_DOCUMENT = 'a document is a text, a list of messages, {"text": ...} or {"embedding": ...} (not both)'
DOCUMENT_TYPE = Discriminator(_document_type, custom_error_type="document", custom_error_message=_NO_DOCUMENT)
"""Determines the type of a document: "text", "messages", "object" or "embedding"."""


Document = Annotated[
    Annotated[str, Tag("text")]
    | Annotated[Messages, Tag("messages")]
    | Annotated[TextDocument, Tag("object")]
    | Annotated[EmbeddingDocument, Tag("embedding")],
    DOCUMENT_TYPE,
]
"""A response: a text, a list of messages, a text in an object, or an embedding in an object."""

# Feedback. The digest that is stored with an idempotency key is computed from the request's JSON: don't rename or
# reorder fields.

_Weight = Annotated[float, Field(ge=SMALLEST_WEIGHT, le=1000, allow_inf_nan=False)]


def _one_if_null(value: object) -> object:
    return 1.0 if value is None else value


Weight = Annotated[_Weight, BeforeValidator(_one_if_null, json_schema_input_type=_Weight | None)]


class Comparison(StrictRequest):
    """One response preferred to another."""

    prompt: Text | None = None
    """Not needed if both responses are embeddings."""
    chosen: Document
    rejected: Document
    weight: Weight = 1.0
    """Weight of the comparison; weight 2 has the effect of two equal comparisons."""

    def compared(self) -> tuple[list[Any], list[tuple[int, int]]]:
        """Return the responses, and the comparisons as indices (chosen, rejected) into them."""
        return [self.chosen, self.rejected], [(0, 1)]


class Choice(StrictRequest):
    """One response chosen among several.

    The chosen response is compared with each other response. Together, these comparisons count as one.
    """

    prompt: Text | None = None
    """Not needed if all responses are embeddings."""
    responses: Annotated[list[Document], Field(min_length=2, max_length=MAX_RESPONSES, fail_fast=True)]
    chosen: Annotated[int, Field(ge=0)]
    """The index of the chosen response, from 0."""
    weight: Weight = 1.0
    """Weight of the choice; weight 2 has the effect of two equal choices."""

    @model_validator(mode="after")
    def _chosen_is_an_index(self) -> Choice:
        if self.chosen >= len(self.responses):
            raise ValueError(
                f"chosen is {self.chosen}, but the responses have the indices 0 to {len(self.responses) - 1}"
            )
        return self

    def compared(self) -> tuple[list[Any], list[tuple[int, int]]]:
        """Return the responses, and the comparisons as indices (chosen, rejected) into them."""
        others = [index for index in range(len(self.responses)) if index != self.chosen]
        return self.responses, [(self.chosen, other) for other in others]


def _feedback_type(value: Any) -> str:  # noqa: ANN401 - anything that JSON can hold
    is_choice = isinstance(value, Choice) or (isinstance(value, dict) and "responses" in value)
    return "choice" if is_choice else "comparison"


Feedback = Annotated[
    Annotated[Comparison, Tag("comparison")] | Annotated[Choice, Tag("choice")], Discriminator(_feedback_type)
]


class FeedbackRequest(StrictRequest):
    """New feedback of one user."""

    answers: Annotated[list[Feedback], Field(min_length=1, max_length=MAX_FEEDBACK, fail_fast=True)]
    """Comparisons, and choices among several responses."""
    idempotency_key: Name | None = None
    """Same as the header `Idempotency-Key`: if a request is sent twice with the same key, it counts once."""


class UserFeedbackRequest(FeedbackRequest):
    """New feedback of the user who is named in the request."""

    user: UserId


class DeletionRequest(StrictRequest):
    """The user to delete."""

    user: UserId


class DeletionResponse(ResponsePart):
    """Result of a deletion. If the request is repeated, the status is the same, and nothing more is deleted."""

    user: str
    deleted: bool
    """False: the server had no data of a user with exactly this id."""
    removed: list[str]
    """`feedback` in the database; `weights`, with all comparisons, in the model's files; and results of the run that
    included the user and can be made again: `report`, `seeds`, `shots`, `rewardbench`."""


class UserRequest(StrictRequest):
    """The user to show."""

    user: UserId
    population: Flag = False
    """If the user is unknown, true returns the population weights, and false is an error."""


class UserResponse(ResponsePart):
    """A user's weights."""

    user: str
    weights: list[float]
    """[K], the posterior mean."""
    standard_deviation: list[float] | None
    """[K], the posterior standard deviation of each weight; null if the adaptation computed no posterior."""
    covariance: list[list[float]] | None
    """[K, K], the posterior covariance; null if the adaptation computed no posterior."""
    answers: int
    """How many comparisons and choices this server has received from the user."""
    version: int
    """How many requests with feedback this server has received for the user."""


# The next question

STOP_BELOW = 0.05
Probability = Annotated[float, Field(ge=0, le=1)]


def _default_if_null(value: object) -> object:
    return STOP_BELOW if value is None else value


class QuestionRequest(StrictRequest):
    """Candidate responses, two of which the user is to compare next."""

    prompt: Text | None = None
    """Not needed if all candidates are embeddings."""
    candidates: Annotated[list[Document], Field(min_length=2, max_length=MAX_CANDIDATES, fail_fast=True)]
    pairs: (
        Annotated[
            list[Annotated[list[Annotated[int, Field(ge=0, lt=MAX_CANDIDATES)]], Field(min_length=2, max_length=2)]],
            Field(min_length=1, max_length=MAX_CANDIDATES**2, fail_fast=True),
        ]
        | None
    ) = None
    """The pairs to choose from, as indices of candidates; null: all pairs."""
    top: Annotated[int, Field(ge=1, le=MAX_CANDIDATES)] | None = None
    """Number of best candidates that matter: the ranking counts as changed only if their order changes; null: all."""
    stop_below: Annotated[Probability, BeforeValidator(_default_if_null, json_schema_input_type=Probability | None)] = (
        STOP_BELOW
    )
    """No question is returned if every pair changes the ranking with a probability below this."""


class UserQuestionRequest(QuestionRequest):
    """Candidate responses for the user who is named in the request."""

    user: UserId


class Question(ResponsePart):
    """The pair of candidates whose comparison is expected to be the most informative."""

    first: int
    """The index of one candidate."""
    second: int
    """The index of the other candidate."""
    information: float
    """Expected information of the comparison about the user's weights, in nats."""
    probability: float
    """Probability that the user prefers the first candidate."""
    change: float
    """Probability that the comparison changes the ranking of the candidates."""


class QuestionResponse(ResponsePart):
    """The next question."""

    user: str
    question: Question | None
    """The pair to compare; null if no comparison is likely enough to change the ranking."""
    expected_accuracy: float
    """How often the model expects to predict correctly which of two candidates the user prefers: the mean of
    max(p, 1 - p) over all pairs of candidates, where p is the probability that the user prefers the first."""


# The server


class ModelCard(ResponsePart):
    """The model that the server has loaded."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "lorerm"
    rank: int
    dimension: int
    """Number of values in an embedding."""
    weight_space: Literal["free", "simplex"]
    temperature: float
    """s in P(first preferred) = sigmoid((reward of the first - reward of the second) / s)."""
    encoder: str | None
    """The encoder that embeds texts; null: the server accepts embeddings only."""
    fingerprint: str
    """Hash of the basis, prior, temperature and encoder. The server uses only feedback stored for this hash."""


class ModelList(ResponsePart):
    """List of the server's models, which always has one entry."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class Status(ResponsePart):
    """Body of the responses of /health and /ready."""

    status: Literal["ok"] = "ok"
