"""A small recurrent latent world model in numpy, with its gradients written out.

    embedding   e_t = tanh(o_t E)                      only while the model may look
    memory      h_t = GRU(h_{t-1}, [z_{t-1}, a_{t-1}])
    prior       p_t = tanh(h_t P)                      what the model expects
    posterior   q_t = tanh([h_t, e_t] Q)               what it concludes after looking
    latent      z_t = q_t while it looks, p_t while it imagines
    decoder     [observation_t, reward_t] = tanh([h_t, z_t] D) R

For the first `context` steps the model looks; after that it imagines, given the actions alone. The loss is
the squared error of everything decoded, plus a pull of the prior towards the posterior.
"""

import numpy as np

EMBEDDING, MEMORY, LATENT, DECODER = 32, 64, 24, 48
CONSISTENCY = 0.1


def sigmoid(x):
    return 0.5 * (1.0 + np.tanh(0.5 * x))


class WorldModel:
    """Batches have shape [time, batch, feature]: the layout in which one step of all sequences is contiguous."""

    def __init__(self, observed, actions, outputs, rng, dtype=np.float32):
        shapes = {
            "E": (observed, EMBEDDING),
            "X": (LATENT + actions, 3 * MEMORY),
            "H": (MEMORY, 3 * MEMORY),
            "P": (MEMORY, LATENT),
            "Q": (MEMORY + EMBEDDING, LATENT),
            "D": (MEMORY + LATENT, DECODER),
            "R": (DECODER, outputs),
        }
        self.parameters = {}
        for name, (fan_in, fan_out) in shapes.items():
            self.parameters[name] = (rng.normal(size=(fan_in, fan_out)) / np.sqrt(fan_in)).astype(dtype)
            self.parameters[f"b{name}"] = np.zeros(fan_out, dtype)

    def size(self):
        return sum(parameter.size for parameter in self.parameters.values())

    def forward(self, observations, actions, context):
        """Predictions [time, batch, output] and what `backward` needs.

        `observations` are read for the first `context` steps only; `actions[t]` leads from t to t + 1.
        """
        w = self.parameters
        steps, batch = actions.shape[:2]
        dtype = w["H"].dtype
        tape = {
            "observations": observations[:context],
            "embedding": np.tanh(observations[:context] @ w["E"] + w["bE"]),
            "inputs": np.zeros((steps, batch, LATENT + actions.shape[2]), dtype),
            "before": np.zeros((steps, batch, MEMORY), dtype),
            "gates": np.empty((steps, batch, 2 * MEMORY), dtype),
            "candidate": np.empty((steps, batch, MEMORY), dtype),
            "recalled": np.empty((steps, batch, MEMORY), dtype),
            "memory": np.empty((steps, batch, MEMORY), dtype),
            "prior": np.empty((steps, batch, LATENT), dtype),
            "posterior": np.empty((context, batch, LATENT), dtype),
            "latent": np.empty((steps, batch, LATENT), dtype),
        }
        tape["inputs"][1:, :, LATENT:] = actions[:-1]
        for t in range(steps):
            if t > 0:
                tape["inputs"][t, :, :LATENT] = tape["latent"][t - 1]
                tape["before"][t] = tape["memory"][t - 1]
            before = tape["before"][t]
            from_input = tape["inputs"][t] @ w["X"] + w["bX"]
            from_memory = before @ w["H"] + w["bH"]
            gates = sigmoid(from_input[:, : 2 * MEMORY] + from_memory[:, : 2 * MEMORY])
            reset, keep = gates[:, :MEMORY], gates[:, MEMORY:]
            recalled = from_memory[:, 2 * MEMORY :]
            candidate = np.tanh(from_input[:, 2 * MEMORY :] + reset * recalled)
            memory = (1 - keep) * candidate + keep * before
            prior = np.tanh(memory @ w["P"] + w["bP"])
            latent = prior
            if t < context:
                latent = np.tanh(np.concatenate([memory, tape["embedding"][t]], axis=1) @ w["Q"] + w["bQ"])
                tape["posterior"][t] = latent
            tape["gates"][t], tape["candidate"][t], tape["recalled"][t] = gates, candidate, recalled
            tape["memory"][t], tape["prior"][t], tape["latent"][t] = memory, prior, latent
        tape["decoder"] = np.tanh(np.concatenate([tape["memory"], tape["latent"]], axis=2) @ w["D"] + w["bD"])
        return tape["decoder"] @ w["R"] + w["bR"], tape

    def loss(self, observations, actions, targets, context):
        """The loss, and its gradient for every parameter."""
        predicted, tape = self.forward(observations, actions, context)
        error = predicted - targets
        gap = tape["prior"][:context] - tape["posterior"]
        gradients = self._backward(tape, 2 * error / error.size, 2 * CONSISTENCY * gap / gap.size, context)
        return np.mean(error**2) + CONSISTENCY * np.mean(gap**2), gradients

    def _backward(self, tape, d_output, d_gap, context):
        w = self.parameters
        steps = len(d_output)
        d_decoder = (d_output @ w["R"].T) * (1 - tape["decoder"] ** 2)
        d_features = d_decoder @ w["D"].T
        d_memory_decoded, d_latent_decoded = d_features[..., :MEMORY], d_features[..., MEMORY:]
        d_from_input = np.empty_like(tape["memory"], shape=(*tape["memory"].shape[:2], 3 * MEMORY))
        d_from_memory = np.empty_like(d_from_input)
        d_prior_pre, d_posterior_pre = np.zeros_like(tape["prior"]), np.empty_like(tape["posterior"])
        d_embedding = np.empty_like(tape["embedding"])
        d_memory_later = np.zeros_like(tape["memory"][0])
        d_latent_later = np.zeros_like(tape["latent"][0])
        for t in reversed(range(steps)):
            d_memory = d_memory_decoded[t] + d_memory_later
            d_latent = d_latent_decoded[t] + d_latent_later
            d_prior = d_latent
            if t < context:
                d_posterior_pre[t] = (d_latent - d_gap[t]) * (1 - tape["posterior"][t] ** 2)
                d_concluded = d_posterior_pre[t] @ w["Q"].T
                d_memory += d_concluded[:, :MEMORY]
                d_embedding[t] = d_concluded[:, MEMORY:]
                d_prior = d_gap[t]
            d_prior_pre[t] = d_prior * (1 - tape["prior"][t] ** 2)
            d_memory += d_prior_pre[t] @ w["P"].T

            reset, keep = tape["gates"][t, :, :MEMORY], tape["gates"][t, :, MEMORY:]
            candidate = tape["candidate"][t]
            d_candidate_pre = d_memory * (1 - keep) * (1 - candidate**2)
            d_reset_pre = d_candidate_pre * tape["recalled"][t] * reset * (1 - reset)
            d_keep_pre = d_memory * (tape["before"][t] - candidate) * keep * (1 - keep)
            d_from_input[t] = np.concatenate([d_reset_pre, d_keep_pre, d_candidate_pre], axis=1)
            d_from_memory[t] = np.concatenate([d_reset_pre, d_keep_pre, d_candidate_pre * reset], axis=1)
            d_memory_later = d_memory * keep + d_from_memory[t] @ w["H"].T
            d_latent_later = (d_from_input[t] @ w["X"].T)[:, :LATENT]
        d_embedding_pre = d_embedding * (1 - tape["embedding"] ** 2)
        concluded_from = np.concatenate([tape["memory"][:context], tape["embedding"]], axis=2)
        decoded_from = np.concatenate([tape["memory"], tape["latent"]], axis=2)
        gradients = {}
        for name, given, d_pre in (
            ("E", tape["observations"], d_embedding_pre),
            ("X", tape["inputs"], d_from_input),
            ("H", tape["before"], d_from_memory),
            ("P", tape["memory"], d_prior_pre),
            ("Q", concluded_from, d_posterior_pre),
            ("D", decoded_from, d_decoder),
            ("R", tape["decoder"], d_output),
        ):
            flat = d_pre.reshape(-1, d_pre.shape[-1])
            gradients[name] = given.reshape(-1, given.shape[-1]).T @ flat
            gradients[f"b{name}"] = flat.sum(axis=0)
        return gradients


class Adam:
    """Adam with the gradient's norm clipped; the learning rate comes with each step."""

    FIRST, SECOND, EPSILON, LARGEST_NORM = 0.9, 0.999, 1e-8, 1.0

    def __init__(self, parameters):
        self.parameters = parameters
        self.first = {name: np.zeros_like(value) for name, value in parameters.items()}
        self.second = {name: np.zeros_like(value) for name, value in parameters.items()}
        self.steps = 0

    def step(self, gradients, rate):
        self.steps += 1
        norm = np.sqrt(sum(float((gradient**2).sum()) for gradient in gradients.values()))
        scale = min(1.0, self.LARGEST_NORM / (norm + self.EPSILON))
        rate = rate * np.sqrt(1 - self.SECOND**self.steps) / (1 - self.FIRST**self.steps)
        for name, gradient in gradients.items():
            gradient = gradient * np.float32(scale)
            self.first[name] += (1 - self.FIRST) * (gradient - self.first[name])
            self.second[name] += (1 - self.SECOND) * (gradient**2 - self.second[name])
            self.parameters[name] -= (rate * self.first[name] / (np.sqrt(self.second[name]) + self.EPSILON)).astype(
                gradient.dtype
            )
