"""The requests and answers of the API."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import unquote

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)

from lorerm.serving.documents import Document, EmbeddingDocument, StrictRequest, Text

MOST_DOCUMENTS, MOST_ANSWERS, MOST_RESPONSES, MOST_CANDIDATES = 1000, 100, 100, 100

# PostgreSQL keeps no NUL in a text.
_NAME = StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00]*$")
UserId = Annotated[str, _NAME]
Key = Annotated[str, _NAME]


def _decoded(value: object) -> object:
    return unquote(value, errors="strict") if isinstance(value, str) else value


# Paths are matched as they were sent, so that an id can hold a slash; here the percent signs are read.
UserInPath = Annotated[str, BeforeValidator(_decoded), _NAME]


class _EcosystemRequest(BaseModel):
    """What clients of other servers send too: fields that mean nothing here are passed over."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class Who(BaseModel):
    """Whose rewards are asked for."""

    user: UserId | None = None
    """None is the population's model."""
    population: bool = False
    """Whether the population's model answers for a user who is not known."""


class RerankRequest(_EcosystemRequest, Who):
    """Documents to be ordered, as for Jina and Cohere."""

    model: str | None = None
    query: Text | None = None
    """The prompt; needed unless all documents are embeddings."""
    documents: Annotated[list[Document], Field(min_length=1, max_length=MOST_DOCUMENTS, fail_fast=True)]
    top_n: Annotated[int, Field(ge=1)] | None = None
    return_documents: bool = False


class RerankOfEmbeddings(RerankRequest):
    """The same, of embeddings alone: the most common, and checked in less time."""

    documents: Annotated[list[EmbeddingDocument], Field(min_length=1, max_length=MOST_DOCUMENTS, fail_fast=True)]  # type: ignore[assignment]


class RerankedDocument(BaseModel):
    """A document, back."""

    text: Text


class Ranked(BaseModel):
    """A document's place in the request, and its reward."""

    index: int
    relevance_score: float
    document: RerankedDocument | None = None


class RerankResponse(BaseModel):
    """Documents, best first."""

    id: str
    model: str
    user: str | None = None
    """Whose model it was; None, or not there, is the population's."""
    results: list[Ranked]


class ScoreRequest(_EcosystemRequest, Who):
    """Pairs to be scored, as for vLLM: one query with each document, or as many queries as documents."""

    model: str | None = None
    queries: Annotated[
        Text | Annotated[list[Text], Field(min_length=1, max_length=MOST_DOCUMENTS, fail_fast=True)] | None,
        Field(validation_alias=AliasChoices("queries", "text_1")),
    ] = None
    documents: Annotated[
        Document | Annotated[list[Document], Field(min_length=1, max_length=MOST_DOCUMENTS, fail_fast=True)],
        Field(validation_alias=AliasChoices("documents", "text_2")),
    ]


class Score(BaseModel):
    """The reward of one pair."""

    index: int
    object: Literal["score"] = "score"
    score: float


class ScoreResponse(BaseModel):
    """Rewards, in the order of the request."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    user: str | None = None
    data: list[Score]


class PairAnswer(StrictRequest):
    """One response preferred to another."""

    prompt: Text | None = None
    chosen: Document
    rejected: Document
    weight: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] = 1.0
    """How many judgements it stands for."""

    def pairs(self) -> tuple[list[Any], list[tuple[int, int]]]:
        """Return the responses, and the pairs (better, worse) among them."""
        return [self.chosen, self.rejected], [(0, 1)]


class ChoiceAnswer(StrictRequest):
    """One response chosen among several: preferred to each of the others, which together count as one judgement."""

    prompt: Text | None = None
    responses: Annotated[list[Document], Field(min_length=2, max_length=MOST_RESPONSES, fail_fast=True)]
    chosen: Annotated[int, Field(ge=0)]
    weight: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] = 1.0

    @model_validator(mode="after")
    def _inside(self) -> ChoiceAnswer:
        if self.chosen >= len(self.responses):
            raise ValueError(f"chosen is {self.chosen}, there are {len(self.responses)} responses, from 0")
        return self

    def pairs(self) -> tuple[list[Any], list[tuple[int, int]]]:
        """Return the responses, and the pairs (better, worse) among them."""
        others = [place for place in range(len(self.responses)) if place != self.chosen]
        return self.responses, [(self.chosen, other) for other in others]


def _answer_kind(value: Any) -> str:  # noqa: ANN401 - whatever a client sends
    choice = isinstance(value, ChoiceAnswer) or (isinstance(value, dict) and "responses" in value)
    return "choice" if choice else "pair"


Answer = Annotated[
    Annotated[PairAnswer, Tag("pair")] | Annotated[ChoiceAnswer, Tag("choice")], Discriminator(_answer_kind)
]


class AnswersRequest(StrictRequest):
    """New answers of one user."""

    answers: Annotated[list[Answer], Field(min_length=1, max_length=MOST_ANSWERS, fail_fast=True)]
    idempotency_key: Key | None = None
    """As the header `Idempotency-Key`: sent again with the same key, the answers count once."""


class PersonResponse(BaseModel):
    """What is known of a user."""

    user: str
    weights: list[float]
    """[K]"""
    standard_deviation: list[float] | None
    """[K]; None where the model's recipe leaves no uncertainty"""
    covariance: list[list[float]] | None
    """[K, K]"""
    answers: int
    """how many answers this server has been given"""
    version: int
    """how many requests brought them"""


class QuestionRequest(StrictRequest):
    """Candidates to ask about."""

    prompt: Text | None = None
    candidates: Annotated[list[Document], Field(min_length=2, max_length=MOST_CANDIDATES, fail_fast=True)]
    pairs: (
        Annotated[
            list[Annotated[list[Annotated[int, Field(ge=0, lt=MOST_CANDIDATES)]], Field(min_length=2, max_length=2)]],
            Field(min_length=1, max_length=MOST_CANDIDATES**2, fail_fast=True),
        ]
        | None
    ) = None
    """The pairs that may be asked about, as places of candidates; None is all."""
    top: Annotated[int, Field(ge=1, le=MOST_CANDIDATES)] | None = None
    """How many of the best candidates matter, in their order; None is all."""
    stop_below: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Probability of a change of the ranking below which no question is asked."""


class AskedQuestion(BaseModel):
    """The pair to ask about: places of candidates, and what the answer is expected to bring."""

    first: int
    second: int
    information: float
    """what the answer is expected to tell about the weights, in nats"""
    probability: float
    """that the first is preferred"""
    change: float
    """the probability that the answer changes the ranking"""


class QuestionResponse(BaseModel):
    """The next question, or None where asking is not worth it."""

    user: str
    question: AskedQuestion | None
    expected_accuracy: float
    """how often the model, by what it knows now, expects to guess right which of two candidates the user prefers:
    the mean over all pairs of candidates of max(p, 1 - p), p being its probability that the first is preferred"""


class ServedModel(BaseModel):
    """The model that is served."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "lorerm"
    rank: int
    dimension: int
    weight_space: Literal["free", "simplex"]
    temperature: float
    """s in P(first preferred) = sigmoid((its reward - the other's) / s)"""
    encoder: str | None
    """what embeds texts; None: only embeddings are taken"""
    fingerprint: str
    """of what decides the weights: users' answers belong to it"""


class ModelList(BaseModel):
    """The models that are served: one."""

    object: Literal["list"] = "list"
    data: list[ServedModel]


class Status(BaseModel):
    """That the server is there."""

    status: Literal["ok"] = "ok"
