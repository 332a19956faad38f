"""Requests for rewards and their responses, in the formats of other servers, so that their clients can be used.

These servers are Cohere and Jina (`documents`), Text Embeddings Inference (`texts`), Infinity, and vLLM (scores and
classes).
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Annotated, Literal

from pydantic import (
    AliasChoices,
    ConfigDict,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from lorerm.serving.schemas import (
    DOCUMENT_TYPE,
    MAX_DOCUMENTS,
    Document,
    EmbeddingDocument,
    Flag,
    Messages,
    RequestBody,
    ResponsePart,
    Text,
    TextDocument,
    UserId,
)

_Documents = Annotated[list[Document], Field(min_length=1, max_length=MAX_DOCUMENTS, fail_fast=True)]

# Requests


class RewardRequest(RequestBody):
    """Common fields of the requests for rewards. Unknown fields, which clients of other servers send, are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False, use_attribute_docstrings=True)

    model: str | None = None
    """The model's name. `NAME@USER` also names the user, for clients that have no field for one."""
    user: UserId | None = None
    """The user for whom rewards are computed; null: a user without feedback (the population model)."""
    population: bool | None = None
    """If the user is unknown: true uses the population model; false is an error; null uses the server's setting."""
    bounded: bool | None = None
    """Whether to return probabilities (that the user prefers the document to one with reward 0) instead of rewards."""
    use_activation: bool | None = None
    """The same as `bounded`, in vLLM's format."""
    raw_scores: bool | None = None
    """The opposite of `bounded`, in the format of Infinity and Text Embeddings Inference."""

    def wants_bounded(self, default: bool) -> bool:
        """Return whether the scores are probabilities. If the request does not say, return `default`."""
        if self.bounded is not None:
            return self.bounded
        if self.use_activation is not None:
            return self.use_activation
        return default if self.raw_scores is None else not self.raw_scores


class Record(RequestBody):
    """A document with any fields, as Cohere's clients send it: `rank_fields` names the fields that are its text."""

    model_config = ConfigDict(strict=True, extra="allow", use_attribute_docstrings=True)

    text: str | None = None

    def select(self, fields: list[str]) -> str | None:
        """Return the text of one field, or of several fields as lines `NAME: VALUE`. Return None if all are absent.

        A value that is not a text is written as JSON.
        """
        record = {"text": self.text, **(self.model_extra or {})}
        values = [(name, record[name]) for name in fields if record.get(name) is not None]
        texts = [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in values]
        if len(fields) == 1 and texts:
            return texts[0][1]
        return "\n".join(f"{name}: {text}" for name, text in texts) or None


_Ranked = Annotated[
    Annotated[str, Tag("text")]
    | Annotated[Messages, Tag("messages")]
    | Annotated[Record, Tag("object")]
    | Annotated[EmbeddingDocument, Tag("embedding")],
    DOCUMENT_TYPE,
]


class RerankRequest(RewardRequest):
    """Documents to rank, in the format of Cohere, Jina, vLLM and Infinity."""

    query: Text | None = None
    """The prompt; not needed if all documents are embeddings."""
    documents: Annotated[list[_Ranked], Field(min_length=1, max_length=MAX_DOCUMENTS, fail_fast=True)]
    rank_fields: Annotated[list[str], Field(max_length=100, fail_fast=True)] | None = None
    """Names of the fields of a document that are its text; null: the field `text`."""
    top_n: Annotated[int, Field(ge=1)] | None = None
    """Number of best documents to return; null: all."""
    return_documents: Flag = False
    """Whether to return the documents' texts."""

    @classmethod
    def from_json(cls, body: bytes) -> RerankRequest:
        """Validate a body.

        The schema for embeddings only is tried first, since it validates without a Python call per document.
        """
        with suppress(ValidationError):
            return _RerankEmbeddings.model_validate_json(body)
        is_texts = b'"texts"' in body and b'"documents"' not in body
        return (TextsRequest if is_texts else cls).model_validate_json(body)

    @model_validator(mode="after")
    def _select_fields(self) -> RerankRequest:
        """Replace each document that is a `Record` by its text. The subclasses have no such documents."""
        for index, document in enumerate(self.documents if type(self) is RerankRequest else []):
            if isinstance(document, Record):
                text = document.select(self.rank_fields or ["text"])
                if text is None:
                    named = "the fields of rank_fields" if self.rank_fields else 'the field "text"'
                    raise ValueError(f"document {index} (from 0) has none of {named}")
                self.documents[index] = TextDocument(text=text)  # type: ignore[call-overload]
        return self


class _RerankEmbeddings(RerankRequest):
    documents: Annotated[list[EmbeddingDocument], Field(min_length=1, max_length=MAX_DOCUMENTS, fail_fast=True)]  # type: ignore[assignment]


class TextsRequest(RerankRequest):
    """Texts to rank, in the format of Text Embeddings Inference. Scores are bounded unless `raw_scores` is true."""

    documents: Annotated[  # type: ignore[assignment]
        list[Document],
        Field(validation_alias="texts", min_length=1, max_length=MAX_DOCUMENTS, fail_fast=True),
    ]
    return_documents: Annotated[Flag, Field(validation_alias="return_text")] = False
    """Whether to return the texts."""


class ScoreRequest(RewardRequest):
    """Prompts and responses to score, in vLLM's format: one query for all documents, or one for each document."""

    queries: Annotated[
        Text | Annotated[list[Text], Field(min_length=1, max_length=MAX_DOCUMENTS, fail_fast=True)] | None,
        Field(validation_alias=AliasChoices("queries", "text_1", "data_1")),
    ] = None
    documents: Annotated[
        Document | _Documents,
        Field(validation_alias=AliasChoices("documents", "items", "text_2", "data_2")),
    ]


class ClassifyRequest(RewardRequest):
    """Responses to classify, in vLLM's format: one conversation, or responses to one query."""

    messages: Messages | None = None
    """A conversation whose last turn is the response."""
    input: Document | _Documents | None = None
    """One or several responses to `query`."""
    query: Text | None = None
    """The prompt of `input`; not needed if all responses are embeddings."""

    @model_validator(mode="after")
    def _is_one_of_two(self) -> ClassifyRequest:
        if (self.messages is None) == (self.input is None):
            raise ValueError("send either `messages` or `input`")
        return self


# Responses

ScoreType = Literal["reward", "probability"]


class Usage(ResponsePart):
    """Numbers of tokens, which clients of other servers expect. This server counts no tokens: they are always 0."""

    prompt_tokens: int = 0
    total_tokens: int = 0


class ApiVersion(ResponsePart):
    """Version of Cohere's API."""

    version: str


class BilledUnits(ResponsePart):
    """Units that a hosted service would bill."""

    search_units: int = 0


class Meta(ResponsePart):
    """Fields that Cohere's clients expect."""

    api_version: ApiVersion
    billed_units: BilledUnits


class RewardResponse(ResponsePart):
    """Common fields of the responses with rewards."""

    id: str
    model: str
    user: str | None = None
    """The user for whom the rewards were computed; null: the population model was used."""
    score_type: ScoreType
    """`reward`, or `probability` (that the user prefers the document to one with reward 0)."""
    usage: Usage


class RankedText(ResponsePart):
    """A ranked document's text."""

    text: Text


class RankedDocument(ResponsePart):
    """A document's index in the request, and its score."""

    index: int
    relevance_score: float
    document: RankedText | str | None = None
    """The document's text, if the request asks for it: an object, or a string for Infinity's clients."""


class RerankResponse(RewardResponse):
    """Documents in descending order of their rewards."""

    results: list[RankedDocument]
    meta: Meta


class RankedByTexts(ResponsePart):
    """A text's index in the request, and its score, in the format of Text Embeddings Inference."""

    index: int
    score: float
    text: Text | None = None


class Score(ResponsePart):
    """The score of one document."""

    index: int
    object: Literal["score"] = "score"
    score: float


class ScoreResponse(RewardResponse):
    """Scores in the order of the request's documents."""

    object: Literal["list"] = "list"
    created: int
    data: list[Score]


class Class(ResponsePart):
    """The score of one response, as the probability of a class. There is only one class."""

    index: int
    label: Literal["preferred"] = "preferred"
    probs: list[float]
    """One number: the score, which is a probability unless `score_type` says `reward`."""
    num_classes: Literal[1] = 1


class ClassifyResponse(RewardResponse):
    """Classes in the order of the request's responses."""

    object: Literal["list"] = "list"
    created: int
    data: list[Class]
