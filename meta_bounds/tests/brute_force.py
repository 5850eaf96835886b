"""Mutual information of discrete packings by writing out every ordering and every data set."""

from itertools import permutations

import torch


def joint_of_training(tables, M, n):
    """p(π_{M+1} = j, W = w) for n draws from each of M tasks; tables (J, A) -> (J, A^(Mn))."""
    J, A = tables.shape
    rows = torch.zeros(J, A ** (M * n), dtype=torch.float64)
    orderings = list(permutations(range(J), M + 1))
    for *training, novel in orderings:
        likelihood = torch.ones(1, dtype=torch.float64)
        for task in training:
            for _ in range(n):
                likelihood = torch.outer(likelihood, tables[task]).flatten()
        rows[novel] += likelihood / len(orderings)
    return rows


def joint_of_mixture(tables, rows):
    """p(j, W) for rows from the even mixture of all tasks but j."""
    J, _ = tables.shape
    mixtures = (tables.sum(0) - tables) / (J - 1)
    return joint_of_novel(mixtures, rows)


def joint_of_novel(tables, k):
    """p(j, Z) for k draws from task j."""
    J, _ = tables.shape
    joint = torch.full((J, 1), 1 / J, dtype=torch.float64)
    for _ in range(k):
        joint = (joint[:, :, None] * tables[:, None, :]).flatten(1)
    return joint


def bits(joint):
    """I in bits of a joint table (J, outcomes)."""
    independent = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    return float((torch.xlogy(joint, joint) - torch.xlogy(joint, independent)).sum() / torch.log(torch.tensor(2.0)))


def bayes_error(joint):
    """P(the most probable j given the data is wrong)."""
    return float(1 - joint.max(0).values.sum())


def permanent_sum(rows, j):
    """Σ over ways to deal the M rows to different tasks other than j of the product of likelihoods; rows (M, J)."""
    M, J = rows.shape
    return sum(
        float(torch.stack([rows[t, i] for t, i in enumerate(tasks)]).prod())
        for tasks in permutations([i for i in range(J) if i != j], M)
    )
