"""The words of a parameter graph: types of nodes, types of edges, activations. Their numbers are embedding indices."""

from __future__ import annotations

PAPER_NODE_TYPES = (
    "neuron", "bias", "channel", "channel_bias",
    "bn_gamma", "bn_beta", "ln_gamma", "ln_beta", "gn_gamma", "gn_beta", "in_gamma", "in_beta",
    "attention_neuron", "attention_bias", "deepsets_neuron", "deepsets_bias", "triplanar",
)  # fmt: skip
EXACT_NODE_TYPES = (
    "query_key", "value", "head", "q_bias", "k_bias", "v_bias", "o_bias", "group",
    "token", "learned", "product", "sum", "reduction", "bn_mean", "bn_var", "rms_gamma", "constant",
)  # fmt: skip
NODE_TYPES = PAPER_NODE_TYPES + EXACT_NODE_TYPES

PAPER_EDGE_TYPES = (
    "lin_weight", "lin_bias", "conv_weight", "conv_bias", "residual",
    "bn_gamma", "bn_beta", "ln_gamma", "ln_beta", "gn_gamma", "gn_beta", "in_gamma", "in_beta", "triplanar",
)  # fmt: skip
EXACT_EDGE_TYPES = (
    "q_weight", "k_weight", "v_weight", "o_weight", "q_bias", "k_bias", "v_bias", "o_bias",
    "set_identity", "set_pool", "set_bias", "copy", "head", "group", "token", "scale",
    "left", "right", "contraction", "reduction", "bn_mean", "bn_var", "rms_gamma", "coordinate", "constant",
)  # fmt: skip
EDGE_TYPES = PAPER_EDGE_TYPES + EXACT_EDGE_TYPES

ACTIVATIONS = (
    "none", "relu", "gelu", "sin", "tanh", "sigmoid", "silu", "leaky_relu", "elu", "softplus", "softmax",
)  # fmt: skip

NODE_TYPE = {name: number for number, name in enumerate(NODE_TYPES)}
EDGE_TYPE = {name: number for number, name in enumerate(EDGE_TYPES)}
ACTIVATION = {name: number for number, name in enumerate(ACTIVATIONS)}
