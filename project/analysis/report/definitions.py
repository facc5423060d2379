"""What every name in a report means: the one place, which tooltips and footnotes are made of."""

from __future__ import annotations

from typing import Literal, NamedTuple

from project.analysis.bootstrap import RESAMPLES
from project.analysis.explanations import INTEGRATION_STEPS

Form = Literal["share", "small share", "number", "large", "time"]


class Definition(NamedTuple):
    """title: on the page. text: one to three sentences. form: how numbers of it are shown."""

    title: str
    text: str
    form: Form = "number"


DEFINITIONS: dict[str, Definition] = {
    # ---- everywhere
    "value": Definition("Value", "The number itself, of the samples as they are."),
    "interval": Definition(
        "95 % interval",
        f"From the 2.5 % to the 97.5 % quantile over {RESAMPLES:,} resamples of the split's samples, drawn with "
        "replacement (percentile bootstrap, Efron 1979). It says how far other samples of the same kind would move the "
        "number, and nothing of other seeds of training. Where every sample is right it has no width, and says nothing.",
    ),
    "low": Definition("Low", "Lower end of the 95 % interval."),
    "high": Definition("High", "Upper end of the 95 % interval."),
    "samples": Definition("Samples looked at", "How many samples of the split the numbers are of."),
    "seed": Definition("Seed", "Of the resamples, the corruptions and the random starts of attacks."),
    "resamples": Definition("Resamples", "How often the samples are drawn anew for the intervals."),
    "class": Definition("Class", "A class of the data set."),
    "support": Definition("Samples", "How many samples of the split have this label, or are in this group."),
    # ---- accuracy
    "accuracy": Definition("Accuracy", "Share of the samples whose likeliest class is their label.", "share"),
    "accuracy_top5": Definition(
        "Top-5 accuracy", "Share of the samples whose label is among the five likeliest classes.", "share"
    ),
    "precision": Definition(
        "Precision",
        "Of the samples that are taken for a class, the share that belongs to it. Of all classes together: the mean over "
        "those that are in the labels or in the predictions, where one that is never predicted counts as 0 (macro).",
        "share",
    ),
    "recall": Definition(
        "Recall",
        "Of the samples of a class, the share that is recognised. Of all classes together: the mean over those that are "
        "in the labels or in the predictions, where one without samples counts as 0 (macro).",
        "share",
    ),
    "f1": Definition(
        "F1",
        "Harmonic mean of precision and recall, 2 TP / (2 TP + FP + FN); of all classes together, the mean over those "
        "that are in the labels or in the predictions (macro).",
        "share",
    ),
    # ---- confusion
    "confusion": Definition(
        "Confusion matrix", "Number of samples of each class (row) that were taken for each class (column)."
    ),
    "true_class": Definition("True class", "The label of the samples."),
    "predicted_class": Definition("Taken for", "The likeliest class, which is another one."),
    "confused": Definition("Confused", "How many samples of the true class were taken for the other."),
    "confused_share": Definition(
        "Share of the class", "Samples of the true class that were taken for the other, over all of the class.", "share"
    ),
    # ---- calibration
    "probabilities": Definition(
        "Probabilities", "Whose: the network's own softmax, or that of the logits divided by T."
    ),
    "temperature": Definition(
        "Temperature",
        "What logits are divided by before the softmax. It lies in the checkpoint, and is the most probable one on the "
        "validation split (Guo et al. 2017, arXiv:1706.04599, section 4.2, with a standard normal prior of log T), of the "
        "images as they are: with model.tta the mean of several views is divided by it, of which it was not found.",
    ),
    "ece": Definition(
        "ECE",
        "Expected calibration error: the mean over samples of |accuracy - mean confidence| of their bin, of 15 bins of "
        "equal width (Guo et al. 2017, equation 3). It is above 0 for a perfect network of few samples, too, and more so "
        "in resamples, so that its interval lies a little high.",
        "small share",
    ),
    "mce": Definition(
        "MCE",
        "Maximum calibration error: the largest |accuracy - mean confidence| of the same 15 bins that hold a sample "
        "(Guo et al. 2017, equation 5). A bin of one sample may decide it.",
        "small share",
    ),
    "brier": Definition(
        "Brier score", "Mean over samples of the squared distance of probabilities and label, 0 to 2 (Brier 1950)."
    ),
    "nll": Definition("NLL", "Negative log-likelihood: mean over samples of -log p(label), in nats."),
    "bin": Definition("Bin", "Lower edge of a bin of the top probability.", "share"),
    "bin_samples": Definition("Samples in the bin", "How many samples have their top probability in the bin."),
    "bin_confidence": Definition("Mean confidence", "Mean of the top probabilities in the bin.", "share"),
    "bin_accuracy": Definition("Accuracy", "Share of the bin's samples that are classified right.", "share"),
    # ---- robustness
    "radius": Definition("ε", "How far every pixel may be moved, in steps of 255: 8 is what papers call 8/255."),
    "fgsm_accuracy": Definition(
        "Accuracy under FGSM",
        "Share of the samples that are still classified right when every pixel has moved by ε along the sign of the loss's "
        "gradient (Goodfellow et al. 2015, arXiv:1412.6572). The attack knows the network and the label.",
        "share",
    ),
    "pgd_accuracy": Definition(
        "Accuracy under PGD",
        "Likewise after many smaller steps from a random start, within ε in every pixel (Madry et al. 2018, "
        "arXiv:1706.06083).",
        "share",
    ),
    "attack_steps": Definition("Steps of PGD", "Gradients that PGD takes for each image, each of 2.5 ε / steps."),
    "corruption": Definition(
        "Corruption", "What is done to the images, after Hendrycks and Dietterich 2019, arXiv:1903.12261; made in code."
    ),
    "severity": Definition("Severity", "From 1, hardly to be seen, to 5; 0 is the image as it is."),
    "corrupted_accuracy": Definition(
        "Accuracy when worn",
        "Share of the corrupted samples that are classified right; without a severity, the mean over all.",
        "share",
    ),
    "mean_corruption_error": Definition(
        "Mean corruption error",
        "Mean over ten corruptions and five severities of the share that is classified wrong. It is not divided by the "
        "error of AlexNet, and the corruptions are ten of fifteen: the mCE of papers is another number.",
        "share",
    ),
    "clean_accuracy": Definition("Clean accuracy", "Accuracy of the same samples as they are.", "share"),
    # ---- groups
    "attribute": Definition("Attribute", "What the data tell of an image besides its label."),
    "group": Definition("Group", "The samples with this value of the attribute."),
    "true_positive_rate": Definition(
        "True-positive rate",
        "Each class against the rest: share of its samples that are recognised; mean over classes.",
        "share",
    ),
    "false_positive_rate": Definition(
        "False-positive rate",
        "Each class against the rest: share of the others' samples that are taken for it; mean over classes.",
        "small share",
    ),
    "worst_group": Definition("Worst group", "The group with the least accuracy, or the least CIDEr-D."),
    "worst_accuracy": Definition(
        "Its accuracy",
        "Accuracy of the worst group. In every resample the worst is looked for anew, so that the interval lies a little "
        "low.",
        "share",
    ),
    "worst_cider": Definition("Its CIDEr-D", "CIDEr-D of the worst group, which is looked for anew in every resample."),
    "accuracy_gap": Definition(
        "Gap in accuracy",
        "Accuracy of the best group minus that of the worst. Chance alone makes it positive, and larger in resamples.",
        "share",
    ),
    "true_positive_gap": Definition(
        "Gap in true-positive rate",
        "Of each class the largest minus the least true-positive rate over the groups, then the mean over classes "
        "(equalized odds, Hardt et al. 2016, arXiv:1610.02413).",
        "share",
    ),
    "false_positive_gap": Definition(
        "Gap in false-positive rate", "Likewise, of the false-positive rates.", "small share"
    ),
    "cider_gap": Definition(
        "Gap in CIDEr-D",
        "Mean CIDEr-D of the best group minus that of the worst. Chance alone makes it positive, and larger in resamples.",
    ),
    "exact_gap": Definition(
        "Gap in exact match", "Share of exact matches in the best group minus that in the worst.", "share"
    ),
    # ---- explanation
    "said": Definition("Said", "The likeliest class, or the caption."),
    "true": Definition("True", "The label, or the reference."),
    "file": Definition("Image", "The image's file, or its place in the split."),
    "confidence": Definition("Confidence", "Calibrated probability of the likeliest class.", "share"),
    "true_probability": Definition("Probability of the label", "Calibrated probability of the label.", "share"),
    "grad_cam": Definition(
        "Grad-CAM",
        "Where the last stage's features speak for the class: ReLU of the feature maps weighted by the mean gradient of "
        "the logit (Selvaraju et al. 2017, arXiv:1610.02391). Yellow is most; relative to the map's own maximum.",
    ),
    "integrated_gradients": Definition(
        "Integrated gradients",
        "What each pixel adds to the logit on the way from a black image (Sundararajan et al. 2017, arXiv:1703.01365; "
        f"{INTEGRATION_STEPS} points). Purple speaks for the class, orange against it.",
    ),
    # ---- cost
    "parameters": Definition("Parameters", "Numbers that training has set, each counted once."),
    "flops": Definition(
        "FLOPs",
        "Floating-point operations for one image in convolutions, matrix products and attention; a multiplication and an "
        "addition are two. Of a captioner, with the search that is configured, of noise.",
        "large",
    ),
    "file_bytes": Definition("File size", "Of the checkpoint, in bytes, with what training needs to go on.", "large"),
    "batch_size": Definition("Batch", "Images that are answered at once."),
    "latency": Definition(
        "Latency",
        "Time from a batch of images on the device, decoded and of the right size, to its answers: the median of five "
        "repeats or more, after three to warm up, in float32.",
        "time",
    ),
    "throughput": Definition("Images a second", "The batch divided by its latency."),
    "threads": Definition("Threads", "Of the processor, in one operation."),
    # ---- captions
    "search": Definition("Search", "How words are chosen: greedily, or by a beam."),
    "beam_size": Definition("Beam", "Hypotheses that are followed at once; 1 is greedy search."),
    "bleu_1": Definition(
        "BLEU-1", "Precision of words, times a penalty for short captions (Papineni et al. 2002; as coco-caption's)."
    ),
    "bleu_2": Definition("BLEU-2", "Likewise, geometric mean of the precisions of 1- and 2-grams."),
    "bleu_3": Definition("BLEU-3", "Likewise, of 1- to 3-grams."),
    "bleu_4": Definition("BLEU-4", "Likewise, of 1- to 4-grams."),
    "rouge_l": Definition(
        "ROUGE-L", "Mean F-measure of the longest common subsequence with a reference (Lin 2004; as coco-caption's)."
    ),
    "cider_d": Definition(
        "CIDEr-D",
        "Likeness of 1- to 4-grams to the references, rare ones counting more, 0 to 10 (Vedantam et al. 2015; as "
        "coco-caption's). How rare an n-gram is, is counted once in this split, for resamples and groups, too; of one "
        "image alone it is 0.",
    ),
    "exact_match": Definition(
        "Exact match", "Share of images whose caption is one of its references, token for token.", "share"
    ),
    "distinct_1": Definition("Distinct-1", "Different words over all words (Li et al. 2016, arXiv:1510.03055)."),
    "distinct_2": Definition("Distinct-2", "Different pairs of words over all pairs."),
    "distinct_captions": Definition("Distinct", "Different captions over all captions.", "share"),
    "novel_captions": Definition("Novel", "Share of captions that no training image has.", "share"),
    "vocabulary_used": Definition("Words used", "Number of different words in the captions."),
    "mean_length": Definition("Mean length", "Words of a caption."),
    "unknown_rate": Definition("Unknown", "Share of words that are the sign for one not in the vocabulary.", "share"),
    "cut_rate": Definition(
        "Cut off", "Share of captions that did not end by themselves within the most words.", "share"
    ),
    "seconds": Definition("Time an image", "Of this search, with the network's look at the image, in batches.", "time"),
    "words": Definition("Words", "Mean length of the references in words. CIDEr-D is lower where they are few."),
    "word_probability": Definition("Probability of a word", "Geometric mean over the caption's words.", "share"),
    # ---- the checkpoint
    "epoch": Definition("Epoch", "Passes over the training data before the checkpoint, counted from 0."),
    "step": Definition("Step", "Updates of the weights before the checkpoint."),
    "image_size": Definition("Image size", "Pixels of a side, as the network sees them."),
    "classes": Definition("Classes", "How many classes there are."),
    "vocabulary_size": Definition(
        "Vocabulary", "Words that the captioner knows, with the marks for start, end and padding."
    ),
    "cores": Definition("Cores", "Of the machine that made the report."),
    "schema": Definition("Schema", "Of `report.json`: raised when a name changes its meaning."),
}
