"""How good a sample of digits is, judged by the pinned MNIST classifier.

Fréchet distance: Heusel+ 2017 (arXiv:1706.08500). Classifier score: Salimans+ 2016 (arXiv:1606.03498), there
the Inception score. Both use features and classes of *our* small MNIST classifier. So they compare generators
that this file scored with each other, and with nothing published.

B batch, F features, C classes."""

import torch
from torch import Tensor

from algorithms.scoring.classifier import NUM_CLASSES, embed, load, read_record


def mean_and_cov(features_BF: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean [F] and the unbiased covariance [F, F], float64; fewer rows than features are fine."""
    features_BF = features_BF.double()
    centred_BF = features_BF - features_BF.mean(dim=0)
    return features_BF.mean(dim=0), centred_BF.T @ centred_BF / (len(features_BF) - 1)


def frechet_distance(mean_a_F: Tensor, cov_a_FF: Tensor, mean_b_F: Tensor, cov_b_FF: Tensor) -> float:
    """Return |mean_a - mean_b|^2 + Tr(cov_a + cov_b - 2 (cov_a cov_b)^(1/2)). Heusel+ 2017, equation 6.

    It is the squared 2-Wasserstein distance of two Gaussians, in float64. Tr (cov_a cov_b)^(1/2) is the sum
    of the singular values of cov_a^(1/2) cov_b^(1/2). That is real, symmetric in a and b, and finite for
    singular covariances, unlike a matrix square root of the product.
    """
    inputs = (mean_a_F, cov_a_FF, mean_b_F, cov_b_FF)
    mean_a_F, cov_a_FF, mean_b_F, cov_b_FF = (x.double().cpu() for x in inputs)
    overlap = torch.linalg.svdvals(_sqrt_psd(cov_a_FF) @ _sqrt_psd(cov_b_FF)).sum()
    distance = (mean_a_F - mean_b_F).square().sum() + cov_a_FF.trace() + cov_b_FF.trace() - 2 * overlap
    return max(0.0, float(distance))


def _sqrt_psd(cov_FF: Tensor) -> Tensor:
    """Return the symmetric root of a covariance; eigenvalues that rounding made negative count as 0."""
    value_F, vector_FF = torch.linalg.eigh(cov_FF)
    root_FF: Tensor = (vector_FF * value_F.clamp(min=0).sqrt()) @ vector_FF.T
    return root_FF


def classifier_score(log_probs_BC: Tensor) -> float:
    """Return exp E KL(p(y|x) || p(y)), from 1 to C. Salimans+ 2016.

    C means that each image is surely of one class, and that all classes are as frequent. Variety within a
    class does not count. Computed as exp(H(E p(y|x)) - E H(p(y|x))) over the whole batch, without Salimans'
    ten splits.
    """
    probs_BC = log_probs_BC.double().exp()
    marginal_entropy = torch.special.entr(probs_BC.mean(dim=0)).sum()
    return float((marginal_entropy - torch.special.entr(probs_BC).sum(dim=1).mean()).exp())


def class_balance(class_B: Tensor, num_classes: int = NUM_CLASSES) -> float:
    """Return the rarest class's share times the number of classes: 0 if a class lacks, 1 if all are equal."""
    count_C = torch.bincount(class_B, minlength=num_classes)
    return float(count_C.min()) * num_classes / len(class_B)


def confidence(log_probs_BC: Tensor) -> float:
    """Return the mean probability of the most likely class, between 1 / C and 1."""
    return float(log_probs_BC.double().amax(dim=1).exp().mean())


def sample_metrics(
    features_BF: Tensor, log_probs_BC: Tensor, mean_F: Tensor, cov_FF: Tensor
) -> dict[str, float]:
    """Return every metric of a sample, against the mean [F] and covariance [F, F] of real features."""
    return {
        "fid_mnist": frechet_distance(*mean_and_cov(features_BF), mean_F, cov_FF),
        "classifier_score": classifier_score(log_probs_BC),
        "class_balance": class_balance(log_probs_BC.argmax(dim=1)),
        "confidence": confidence(log_probs_BC),
    }


class Scorer:
    """The pinned classifier on a device. The same images have the same scores at every call."""

    def __init__(self, device: str | torch.device = "cpu") -> None:
        pinned = load()
        self._network = pinned.network.to(device)
        self._mean_F, self._cov_FF = pinned.mean_F, pinned.cov_FF

    def score(self, images: Tensor, labels: Tensor | None = None) -> dict[str, float]:
        """Return the metrics of uint8 images [N, 28, 28] (ink 255) on any device; N at least 2.

        `fid_mnist`: Fréchet distance of the sample's features to those of the 60,000 training digits; lower
        is better. It is not the FID of the literature, which uses Inception features. The training digits'
        total variance is 100, so a sample of equal images at the mean of the real features gets 100. It
        depends on N: compare only scores of equal N. `classifier_score` (1 to 10), `class_balance` (0 to 1),
        `confidence` (0.1 to 1): higher is better. `conditional_accuracy` (0 to 1), only with int64 `labels`
        [N]: the share of images read as their label. Raises ValueError for another dtype or shape.
        """
        _check(images, at_least=2)
        features_BF, log_probs_BC = embed(self._network, images)
        metrics = sample_metrics(features_BF, log_probs_BC, self._mean_F, self._cov_FF)
        if labels is not None:
            as_asked_B = log_probs_BC.argmax(dim=1) == labels.cpu()
            metrics["conditional_accuracy"] = float(as_asked_B.double().mean())
        return metrics

    def predict(self, images: Tensor) -> Tensor:
        """Return the class [N], int64 on the CPU, of uint8 images [N, 28, 28] (ink 255); N at least 1."""
        _check(images, at_least=1)
        return embed(self._network, images)[1].argmax(dim=1)

    @staticmethod
    def floor() -> dict[str, float]:
        """Return the metrics of the 10,000 test digits, which a perfect generator gets at N = 10,000."""
        floor: dict[str, float] = read_record()["floor"]
        return floor


def _check(images: Tensor, at_least: int) -> None:
    if not isinstance(images, Tensor) or images.dtype != torch.uint8 or images.shape[1:] != (28, 28):
        got = f"{getattr(images, 'dtype', '')} {list(getattr(images, 'shape', ()))}"
        kind = type(images).__name__
        raise ValueError(f"images must be a Tensor torch.uint8 [N, 28, 28], got {kind} {got}")
    if len(images) < at_least:
        raise ValueError(f"images must be at least {at_least}, got {len(images)}")
