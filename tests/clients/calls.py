"""Rank three documents with the real clients of other rerank servers; run by tests/serving/test_clients.py.

It runs in an environment with the packages of requirements.txt. It reads a JSON object (`address`, `key`, `model`,
`user`, `other`, `query`, `documents`) from standard input, and writes a JSON line for each call into the file that its
argument names: the client, its version, how it names the user, and the order and scores that it returned, or its error.
"""

from __future__ import annotations

import json
import sys
import traceback
from importlib.metadata import version
from pathlib import Path

ASKED = json.load(sys.stdin)
ADDRESS, KEY, MODEL, USER, QUERY = (ASKED[name] for name in ("address", "key", "model", "user", "query"))
DOCUMENTS = ASKED["documents"]
CALLS = []


def client(name, package):
    """Register a function that takes a base URL and a model's name, and returns pairs of an index and a score."""
    return lambda call: CALLS.append((name, package, call)) or call


def pairs(results):
    return [(result.index, result.relevance_score) for result in results]


@client("cohere `Client`", "cohere")
def cohere_v1(base, model):
    import cohere

    documents = [{"text": text, "id": str(index), "year": index} for index, text in enumerate(DOCUMENTS)]
    found = cohere.Client(KEY, base_url=base).rerank(
        model=model, query=QUERY, documents=documents, return_documents=True, top_n=3
    )
    assert [result.document.text for result in found.results] == [DOCUMENTS[result.index] for result in found.results]
    assert found.meta.api_version.version
    return pairs(found.results)


@client("cohere `Client`, `rank_fields`", "cohere")
def cohere_rank_fields(base, model):
    import cohere

    documents = [{"title": text, "id": str(index)} for index, text in enumerate(DOCUMENTS)]
    found = cohere.Client(KEY, base_url=base).rerank(
        model=model, query=QUERY, documents=documents, rank_fields=["title"]
    )
    return pairs(found.results)


@client("cohere `ClientV2`", "cohere")
def cohere_v2(base, model):
    import cohere

    found = cohere.ClientV2(KEY, base_url=base).rerank(
        model=model, query=QUERY, documents=DOCUMENTS, top_n=3, max_tokens_per_doc=4096
    )
    return pairs(found.results)


@client("LangChain `CohereRerank`", "langchain-cohere")
def langchain_cohere(base, model):
    from langchain_cohere import CohereRerank
    from langchain_core.documents import Document

    compressor = CohereRerank(base_url=base, model=model, cohere_api_key=KEY, top_n=3)
    documents = [Document(text, metadata={"index": index}) for index, text in enumerate(DOCUMENTS)]
    found = compressor.compress_documents(documents, QUERY)
    return [(each.metadata["index"], each.metadata["relevance_score"]) for each in found]


@client("LangChain `JinaRerank`", "langchain-community")
def langchain_jina(base, model):
    from langchain_community.document_compressors import JinaRerank, jina_rerank

    jina_rerank.JINA_API_URL = f"{base}/v1/rerank"  # the class has no field for it
    found = JinaRerank(jina_api_key=KEY, model=model).rerank(DOCUMENTS, QUERY)
    return [(each["index"], each["relevance_score"]) for each in found]


@client("LangChain `InfinityRerank`", "langchain-community")
def langchain_infinity(base, model):
    from infinity_client.client import Client
    from langchain_community.document_compressors.infinity_rerank import InfinityRerank

    headers = {"Authorization": f"Bearer {KEY}"}
    compressor = InfinityRerank(client=Client(base_url=base, headers=headers), model=model)
    return [(each["index"], each["relevance_score"]) for each in compressor.rerank(DOCUMENTS, QUERY)]


@client("LlamaIndex `CohereRerank`", "llama-index-postprocessor-cohere-rerank")
def llama_index_cohere(base, model):
    from llama_index.postprocessor.cohere_rerank import CohereRerank

    return _postprocess(CohereRerank(top_n=3, model=model, api_key=KEY, base_url=base))


@client("LlamaIndex `JinaRerank`", "llama-index-postprocessor-jinaai-rerank")
def llama_index_jina(base, model):
    from llama_index.postprocessor.jinaai_rerank import JinaRerank

    return _postprocess(JinaRerank(top_n=3, model=model, api_key=KEY, base_url=f"{base}/v1"))


@client("LlamaIndex `TextEmbeddingInference`", "llama-index-postprocessor-tei-rerank")
def llama_index_tei(base, model):
    from llama_index.postprocessor.tei_rerank import TextEmbeddingInference

    return _postprocess(TextEmbeddingInference(top_n=3, base_url=base, auth_token=f"Bearer {KEY}"))


def _postprocess(processor):
    from llama_index.core.schema import NodeWithScore, TextNode

    nodes = [NodeWithScore(node=TextNode(text=text, id_=str(index))) for index, text in enumerate(DOCUMENTS)]
    return [(int(each.node.id_), each.score) for each in processor.postprocess_nodes(nodes, query_str=QUERY)]


@client("Haystack `CohereRanker`", "cohere-haystack")
def haystack_cohere(base, model):
    from haystack.utils import Secret
    from haystack_integrations.components.rankers.cohere import CohereRanker

    return _run(CohereRanker(model=model, api_key=Secret.from_token(KEY), api_base_url=base))


@client("Haystack `JinaRanker`", "jina-haystack")
def haystack_jina(base, model):
    from haystack.utils import Secret
    from haystack_integrations.components.rankers.jina import JinaRanker

    return _run(JinaRanker(model=model, api_key=Secret.from_token(KEY), base_url=f"{base}/v1/rerank"))


def _run(ranker):
    from haystack import Document

    documents = [Document(content=text, id=str(index)) for index, text in enumerate(DOCUMENTS)]
    return [(int(each.id), each.score) for each in ranker.run(query=QUERY, documents=documents)["documents"]]


@client("infinity-client", "infinity-client")
def infinity(base, model):
    from infinity_client.api.default import rerank
    from infinity_client.client import AuthenticatedClient
    from infinity_client.models import RerankInput

    body = RerankInput(query=QUERY, documents=DOCUMENTS, model=model, return_documents=True)
    found = rerank.sync(client=AuthenticatedClient(base_url=base, token=KEY), body=body)
    assert [each.document for each in found.results] == [DOCUMENTS[each.index] for each in found.results]
    return pairs(found.results)


@client("litellm `cohere/`", "litellm")
def litellm_cohere(base, model):
    return _litellm("cohere", base, model)


@client("litellm `jina_ai/`", "litellm")
def litellm_jina(base, model):
    return _litellm("jina_ai", base, model)


@client("litellm `infinity/`", "litellm")
def litellm_infinity(base, model):
    return _litellm("infinity", f"{base}/infinity", model)


@client("litellm `hosted_vllm/`", "litellm")
def litellm_vllm(base, model):
    return _litellm("hosted_vllm", base, model)


@client("litellm `huggingface/`", "litellm")
def litellm_tei(base, model):
    return _litellm("huggingface", base, model)


def _litellm(provider, base, model):
    import litellm

    found = litellm.rerank(
        model=f"{provider}/{model}", query=QUERY, documents=DOCUMENTS, top_n=3, api_base=base, api_key=KEY
    )
    for result in found.results:
        assert result["document"] == {"text": DOCUMENTS[result["index"]]}
    return [(result["index"], result["relevance_score"]) for result in found.results]


def main() -> None:
    """Make every call with every way to name the user."""
    with Path(sys.argv[1]).open("w", encoding="utf-8") as lines:
        for found in results():
            lines.write(json.dumps(found) + "\n")


def results():
    for name, package, call in CALLS:
        for way, base, model in [
            ("nobody", ADDRESS, MODEL),
            ("base URL", f"{ADDRESS}/v1/users/{USER}", MODEL),
            ("model", ADDRESS, f"{MODEL}@{USER}"),
            ("another model", ADDRESS, ASKED["other"]),
        ]:
            found = {"client": name, "package": package, "version": version(package), "way": way}
            try:
                ranked = call(base, model)
                found |= {"order": [index for index, _ in ranked], "scores": [score for _, score in ranked]}
            except Exception as error:
                found |= {"error": f"{type(error).__name__}: {error}", "at": traceback.format_exc()}
            yield found


main()
