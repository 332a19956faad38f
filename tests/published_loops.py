"""The published optimisation, restated literally as a baseline: autograd, and a loop over users in every step."""

import torch
import torch.nn.functional as F


def joint(differences, rank, steps, lr, seed, alpha=0.0, reference=None):
    """Return V [D, K] and softmax(W) [N, K] of LoRe; `differences` is one [n_u, D] tensor per user."""
    torch.manual_seed(seed)
    dtype = differences[0].dtype
    W = torch.randn(len(differences), rank).to(dtype).requires_grad_()
    V = torch.randn(differences[0].shape[1], rank).to(dtype).requires_grad_()
    optimiser = torch.optim.Adam([W, V], lr=lr)
    for _ in range(steps):
        optimiser.zero_grad()
        loss = sum(-F.logsigmoid(d @ V @ torch.softmax(W[u], 0) / 100).mean() for u, d in enumerate(differences))
        if alpha:
            loss = loss + alpha * ((V - reference[:, None]) ** 2).sum()
        loss.backward()
        optimiser.step()
    return V.detach(), torch.softmax(W.detach(), 1)


def cosine(differences, rank, steps, lr, alpha, reference, seed):
    """Return V and W of LoRe_regularized: alternating steps, ramped cosine regulariser, columns dropped at the end."""
    torch.manual_seed(seed)
    dtype = differences[0].dtype
    W = torch.rand(len(differences), rank).to(dtype).requires_grad_()
    V = torch.randn(differences[0].shape[1], rank).to(dtype).requires_grad_()
    of_w, of_v = torch.optim.Adam([W], lr=lr), torch.optim.Adam([V], lr=lr)
    n_pairs = sum(len(d) for d in differences)

    def data_term():
        return (
            sum(-F.logsigmoid(d @ V @ torch.softmax(W[u], 0) / 100).sum() for u, d in enumerate(differences)) / n_pairs
        )

    start, full = int(0.2 * steps), int(0.8 * steps)
    for step in range(steps):
        of_w.zero_grad()
        data_term().backward()
        of_w.step()
        strength = 0.0 if step < start else alpha if step >= full else alpha * (step - start) / (full - start)
        of_v.zero_grad()
        (data_term() + strength * (1 - F.cosine_similarity(V, reference[:, None], dim=0)).mean()).backward()
        of_v.step()
    weights = torch.softmax(W.detach(), 1)
    kept = weights.max(dim=0).values >= 0.01
    return V.detach()[:, kept], weights[:, kept]


def few_shot(differences, V, steps, lr, seed):
    """Return the weights of new users, given V."""
    torch.manual_seed(seed)
    W = torch.stack([torch.randn(V.shape[1]) for _ in differences]).to(V.dtype).requires_grad_()
    optimiser = torch.optim.Adam([W], lr=lr)
    for _ in range(steps):
        optimiser.zero_grad()
        sum(-F.logsigmoid(d @ V @ torch.softmax(W[u], 0) / 100).mean() for u, d in enumerate(differences)).backward()
        optimiser.step()
    return torch.softmax(W.detach(), 1)
