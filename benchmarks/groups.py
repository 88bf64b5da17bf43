"""What the results page shows: one group for each file of results, in the page's order."""

from __future__ import annotations

from dataclasses import dataclass

from recipe_cells import BASE, RECIPES


@dataclass(frozen=True)
class Group:
    """One file of results: what it shows and how it is made."""

    bench: str
    title: str
    shows: str
    command: str
    tables: tuple[int, ...] = ()  # of the paper, printed beside ours
    pairs: tuple[tuple[str, str], ...] = ()  # recipes compared over the same seeds
    borrows: tuple[str, ...] = ()  # other files that hold runs of those recipes
    paper: str = "ccl"  # whose tables: published/NAME.csv
    measures: tuple[str, ...] = ("accuracy_test",)  # the first one is compared over seeds
    unit: str = "labels"  # of the columns; answers, where the variants have units of their own


GROUPS = (
    Group(
        "usps",
        "USPS: accuracy from few labels",
        "All 9,298 images, split 80/20, the published schedule. Test accuracy, the share of the"
        " held-out fifth that is named right. The paper reads its rows at 3, 5 and 10 % of the"
        " training part; ours are the same counts.",
        "python benchmarks/run_all.py usps usps_more",
        (5,),
        (("ccl-student", "ccl"), ("ccl-student", "probe"), ("ccl", "probe")),
    ),
    Group(
        "forms_digits",
        "The printed forms on digits",
        "Which reading of Eq. 7 stands for `ccl` on USPS is decided here, on digits, by the best"
        " mean over all counts.",
        "python benchmarks/run_all.py forms_digits",
    ),
    Group(
        "forms",
        "Every form of the labelled loss, and the controls",
        "USPS, one seed. The printed forms of Eq. 7, the Student form with and without"
        " augmentation, clustering alone, logistic regression on pixels, a supervised network. Who"
        " loses to whom, as far as one seed says it: every printed form loses to the Student form"
        " and to a supervised network that is asked by entropy, and these two are level; without"
        " augmentation the Student form falls back to the best printed ones, which are those over"
        " centroids and the inclusive one with negative squared distances. The literal form fails"
        " with distances and with inner products: it ends below clustering alone. With cosines, and"
        " the inclusive form with inner products, it loses to logistic regression at 3 %."
        " Clustering alone does not learn from more labels, and logistic regression passes it.",
        "python benchmarks/run_all.py forms",
    ),
    Group(
        "clustering",
        "What the labelled loss adds to clustering",
        "The paper's Table 2: the same learner with and without the labelled term, at 3 % labels.",
        "python benchmarks/run_all.py clustering clustering_mnist",
        (2,),
        (("ccl", "ccl-clustering-only"), ("ccl-student", "ccl-clustering-only")),
        ("mnist",),
    ),
    Group(
        "mnist",
        "MNIST",
        "Split 80/20 of the 60,000. Logistic regression on pixels is the control.",
        "python benchmarks/run_all.py mnist mnist_ccl large_random mnist_published",
        (3,),
        (("ccl-student", "ccl"), ("ccl-student", "probe"), ("ccl-student", "ccl-student+random")),
    ),
    Group(
        "fashion",
        "Fashion-MNIST",
        "Split 80/20 of the 60,000. Logistic regression on pixels is the control: the"
        " Student form as it is for signs does not pass it, and no difference is shown between"
        " entropy, random questions and the printed form either. With the augmentation of objects"
        " (mirrored, cropped) its mean is level at 500 labels and ahead at 1,500. What else was"
        " tried is in the next group. All of them pass the paper's figures, the control included.",
        "python benchmarks/run_all.py fashion fashion_ccl large_random",
        (4,),
        (("ccl-student", "ccl"), ("ccl-student", "probe"), ("ccl-student", "ccl-student+random")),
    ),
    Group(
        "fashion_why",
        "What holds the Student form back on Fashion-MNIST",
        "One change at a time, one seed, up to 500 labels. A diagnosis: no default was chosen"
        " from it.",
        "python benchmarks/run_all.py fashion_why",
    ),
    Group(
        "refresh",
        "A cheaper refresh of P",
        "MNIST, the fast schedule: P from a forward pass over all images every 80 steps, or from"
        " the q that the training passes leave behind.",
        "python benchmarks/run_all.py mnist refresh",
        pairs=(("ccl-student running q", "ccl-student"),),
    ),
    Group(
        "queries",
        "Entropy against random queries",
        "USPS, the same learner, the same seeds; only the rule differs.",
        "python benchmarks/run_all.py queries",
        pairs=(("ccl-student+entropy", "ccl-student+random"),),
    ),
    Group(
        "dsac_choice",
        "What makes DSAC steady",
        "Digits, pixels, one change at a time from `dsac-steady` as f predicts it. The agreement"
        " of two views, the share of candidates, the absent self-paced term, unweighted losses and"
        " answers of five times the weight were chosen here; STL-10's 5,000 training images were"
        " looked at beside it.",
        "python benchmarks/run_all.py dsac_choice",
        measures=("ari_all",),
    ),
    Group(
        "dsac_choice_predict",
        "Which images are asked, and what names an image in the end",
        "Digits, pixels. Asked by the paper's rule (representatives and the hard ones between"
        " clusters) or by typicality (*typiclust*): of the trained embedding, or *of both*, it and"
        " the one it set out from side by side; by one start of k-means or the best of *ten*."
        " Predictions: *row*, the trained f; *centre*,"
        " the class whose centre is nearest; *views*, a fifth of that and four fifths of the"
        " answers spread over the graph. Chosen with 2 and 3 seeds on digits, on pairs of digits as"
        " classes, on STL-10's 5,000 training images and on 6,000 training images of Fashion-MNIST."
        " Tried there and not taken: the graph's pseudo-labels alone, a mixture of both views as"
        " pseudo-labels, and switching to the graph once it has foretold more of the answers.",
        "python benchmarks/run_all.py dsac_choice_predict",
        pairs=(
            ("dsac-steady dsac, views", "dsac-steady dsac, row"),
            ("dsac-steady typiclust, views", "dsac-steady dsac, views"),
            ("dsac-steady typiclust of both, ten starts, views", "dsac-steady typiclust, views"),
        ),
        measures=("ari_all",),
    ),
    Group(
        "dsac_choice_rule",
        "Typical images, or those that answers reach most from",
        "Digits, pixels; as many answers as classes a round. *typical*: `typiclust`, the best of"
        " ten starts; *coverage*: `graph-coverage`. Each sees the *embedding* as it is trained, the"
        " *first* one, which stays, or *both*. Looked at beside it with 3 seeds, not recorded:"
        " pairs of digits as classes, and STL-10's training part at 32 pixels, its ten classes and"
        " pairs of them, under two encoders; there *first* was as good as *both* or better, with"
        " less spread in each, and that decided.",
        "python benchmarks/run_all.py dsac_choice_rule",
        pairs=(
            ("dsac-steady coverage, first", "dsac-steady typical, both"),
            ("dsac-steady coverage, first", "dsac-steady coverage, both"),
        ),
        measures=("ari_all",),
    ),
    Group(
        "dsac_stl10",
        "STL-10 from 20 to 100 labels",
        "All 13,000 images are the pool and every image is scored, as in the paper. Frozen"
        " features of the packaged encoder, which was trained on ImageNet's labels: foreign"
        " labels, and STL-10's images come from ImageNet. `kmeans` sees no label. From 60 labels"
        " on the literal `dsac` gives whole clusters the class of their newest representative"
        " (k_2 = 2,050 images of a mean cluster of 1,300): one wrong one renames them all. `lite1`"
        " is the next larger encoder, an extra; lite0 stays the default. *typical*: `dsac-steady`"
        " as it was before `graph-coverage`, asked by `typiclust`. `graph-coverage` draws nothing:"
        " the spread of `dsac-steady` over seeds is that of training alone, not that over pools.",
        "python benchmarks/run_all.py dsac_stl10 dsac_stl10_lite1",
        (1, 2),
        (
            ("dsac-steady", "dsac"),
            ("dsac-steady", "propagation"),
            ("dsac-steady", "dsac-steady typical"),
            ("dsac-steady", "graph-coverage"),
            ("dsac", "propagation"),
        ),
        paper="dsac",
        measures=("ari_all", "nmi_all", "acc_all"),
    ),
    Group(
        "dsac_ablation",
        "Which part of DSAC does what",
        "STL-10, the paper's Table III and the controls that it leaves out. Which part is"
        " selection: `dsac-no-pseudo` against `dsac-r`, by the means worth most at 20 and 40 labels"
        " and nothing from 60 on. Which part is pseudo-labels: `dsac` against `dsac-no-pseudo`, a"
        " gain at 20 and a loss from 40 on; drawn at random, with pseudo-labels or without, is"
        " better than the whole from 60 on.",
        "python benchmarks/run_all.py dsac_stl10 dsac_ablation",
        (3,),
        (
            ("dsac", "dsac-r"),
            ("dsac", "dsac-r-pl"),
            ("dsac", "dsac-no-pseudo"),
            ("dsac-no-pseudo", "dsac-r"),
            ("dsac-r-pl", "dsac-r"),
            ("dsac", "dsac-linear"),
            ("dsac", "dsac-only-difficult"),
            ("dsac", "dsac-only-representative"),
        ),
        ("dsac_stl10",),
        paper="dsac",
        measures=("ari_all", "nmi_all"),
    ),
    Group(
        "dsac_cifar100",
        "CIFAR-100-20 from 20 to 100 labels",
        "The 9,999 images of the test part at hand; the paper has all 60,000, so its figures are"
        " no yardstick here.",
        "python benchmarks/run_all.py dsac_cifar100",
        (1, 2),
        (
            ("dsac-steady", "dsac"),
            ("dsac-steady", "propagation"),
            ("dsac-steady", "dsac-steady typical"),
            ("dsac-steady", "graph-coverage"),
        ),
        paper="dsac",
        measures=("ari_all", "nmi_all", "acc_all"),
    ),
    Group(
        "dsac_cifar10",
        "CIFAR-10 from 20 to 100 labels",
        "All 60,000 images, JPEG copies of the originals; frozen features, and the encoder tuned on"
        " the answers and the surest pseudo-labels (*adapted*).",
        "python benchmarks/run_all.py dsac_cifar10 dsac_cifar10_adapted",
        (1, 2),
        (
            ("dsac-steady", "dsac"),
            ("dsac-steady", "propagation"),
            ("dsac-steady", "dsac-steady typical"),
            ("dsac-steady", "graph-coverage"),
        ),
        paper="dsac",
        measures=("ari_all", "nmi_all", "acc_all"),
    ),
    Group(
        "dsac_adapt_choice",
        "What lets an encoder adapt to small pictures",
        "STL-10's 5,000 training images shrunk to 32 pixels, one seed: the encoder as it is, and"
        " tuned on the answers and on the surest pseudo-labels. Side, rates and share for CIFAR-10"
        " are chosen here.",
        "python benchmarks/run_all.py dsac_adapt_choice",
        measures=("ari_all",),
    ),
    Group(
        "dsac_sensitivity",
        "How much DSAC's numbers matter",
        "STL-10, the literal `dsac`, one number at a time: k_1 candidates, k neighbours, k_2 first"
        " pseudo-labels of a cluster and how many more a round, gamma of the centre loss, the"
        " quantile behind lambda, m of the embedding. Two seeds: the paper's appendix on this is"
        " not to be had.",
        "python benchmarks/run_all.py dsac_stl10 dsac_sensitivity",
        paper="dsac",
        measures=("ari_all",),
    ),
    Group(
        "recipes",
        "Every active learner beside random questions",
        "USPS, split 80/20, 100 labels at first and 50 a round, the fast schedule on one core, 3"
        " seeds. *Area*: the mean of the test accuracy over the curve, by labels. `random`: the"
        " same supervised network with images asked at random. `probe`, `typiclust`, `probcover`"
        " and `dcom` are logistic regressions on pixels. MNIST: the first two rounds of 250.",
        "python benchmarks/run_all.py recipes_usps recipes_mnist",
        pairs=tuple((name, BASE) for name in RECIPES),
        measures=("accuracy_area", "accuracy_test"),
    ),
    Group(
        "fixmatch",
        "FixMatch and FlexMatch on few labels",
        "One fit on labels that were drawn at random, the fast schedule on one core: USPS with 250"
        " labels, split 80/20; MNIST with 100, 20,000 images of its training part and its whole"
        " test part. `random` is a supervised network on the labels alone. Network, learning rate"
        " and the number of steps were chosen on USPS's training part.",
        "python benchmarks/run_all.py fixmatch_usps fixmatch_mnist",
        pairs=(("fixmatch", "random"), ("flexmatch", "fixmatch")),
    ),
    Group(
        "fixmatch_choice",
        "FixMatch's learning rate on digits",
        "8x8 digits, 100 labels drawn at random, the fast schedule: the published rate of .03, ours"
        " and a higher one.",
        "python benchmarks/run_all.py fixmatch_choice",
        pairs=(("fixmatch lr 0.06", "fixmatch lr 0.03"), ("fixmatch lr 0.06", "fixmatch lr 0.1")),
    ),
    Group(
        "pairs_choice",
        "AutoEmbedder's alpha on the fast schedule",
        "Digits, 500 answers about pairs. `autoembedder` alone takes three times the median"
        " distance of two images before training; 100 is the published value, for another network."
        " The column of 0 answers is k-means on the encoder that all begin with.",
        "python benchmarks/run_all.py pairs_choice",
        measures=("ari_all",),
        unit="answers",
    ),
    Group(
        "pairs",
        "Same or different?",
        "USPS, split 80/20, the training part clustered and scored without class names. The variant"
        " says what an answer is about: a pair of images, or a label, which gives all its pairs."
        " Pairs that answers imply are never asked and cost nothing. `adc` is a reconstruction:"
        " its paper's loss and score are not known to us. `kmeans cae` is k-means, without an"
        " answer, on the pre-trained auto-encoder that all of them set out from; *ari_kmeans* is"
        " k-means on each learner's own embedding before its first answer.",
        "python benchmarks/run_all.py pairs",
        pairs=(("adc", "sdec-strong"), ("adc", "autoembedder"), ("sdec-strong", "sdec")),
        measures=("ari_all", "ari_kmeans", "nmi_all", "acc_all", "accuracy_named"),
        unit="answers",
    ),
    Group(
        "demo",
        "The demo",
        "`handful demo`: 1,797 digits, scored on the images that nobody was asked about.",
        "python benchmarks/demo.py",
    ),
    Group(
        "throughput",
        "Training speed",
        "Images a second, against a bare loop of PyTorch with the same network and the same"
        " two streams of images, in one run.",
        "python benchmarks/throughput.py",
    ),
    Group(
        "extract",
        "Feature extraction",
        "STL-10's first images at 160 pixels through the packaged encoder, against a bare forward"
        " pass of the same module on batches that are ready in memory, in one run. *decoded*: the"
        " pool's images are in memory; *encoded*: JPEG files are decoded as well.",
        "python benchmarks/extract.py",
    ),
    Group(
        "queries_scale",
        "A million images",
        "Each rule, and the loop, on 1,000,000 x 10 probabilities.",
        "python benchmarks/queries_scale.py",
    ),
    Group(
        "knn",
        "Nearest neighbours",
        "The 6 nearest of every row, exact, on made-up clusters: ours, and other libraries at the"
        " sizes named. Seconds of all cores stand beside those of the wall, which hold the"
        " machine's other work.",
        "python benchmarks/knn.py knn",
    ),
    Group(
        "knn_million",
        "Neighbours and k-means of a million rows",
        "1,000,000 made-up features of width 200: the 6 nearest by k-means cells with their recall"
        " on 1,000 probes, k-means with 20 clusters from one start; the rival at the size named.",
        "python benchmarks/knn.py million",
    ),
    Group(
        "dsac_round",
        "One round of DSAC",
        "60,000 x 1,280 made-up features, 20 classes, mapped from a file, the fast schedule on two"
        " threads: training, clustering and the choice of the next 20 images; the neighbours of the"
        " embedding apart. *seconds_first*: the clustering before any label. Seconds of all"
        " cores stand beside those of the wall, which hold the machine's other work.",
        "python benchmarks/dsac_round.py",
    ),
    Group(
        "simclr",
        "Pre-training without labels",
        "SimCLR: two views of each image alone, and a step on them without; then an encoder before"
        " and after it was pre-trained on all images, as the ARI of k-means on its features, one"
        " cluster a class. STL-10 is shrunk to 32 pixels. One core.",
        "python benchmarks/simclr.py",
    ),
    Group(
        "enrichment",
        "Does VAAL find what has no label?",
        "Digits 8 and 9 withheld: 300 labelled images of the others, and the 1,497 open ones put"
        " in order by the rule, .236 of them 8 or 9. *auc*, *precision_50*, *precision_100*: of"
        " that order. A code that says nothing (*kl* near 0, or no *active* number) leaves"
        " a random order: that is what the reduction of the released code does. One core of a busy"
        " machine.",
        "python benchmarks/enrichment.py",
    ),
    Group(
        "selection",
        "Rules beside their peers",
        "Every rule that takes arrays, 100 picks from made-up rows of width 128 (50 Gaussians, two"
        " labels a class), each case alone in a process; the peers that have the rule, in the same"
        " run. *seconds*: the least of the repeats; *extra_mb*: memory beyond the matrices."
        " *equal*: the picks that a slow reference makes, too. *radius*: farthest row from a label"
        " or a pick; *coverage*: rows within ProbCover's delta of one, *coverage_reference*: what"
        " greedy covers on the whole matrix of pairs; *typicality*: mean over the picks among all"
        " rows. *stopped_at*: a repeat was ended there; *installed* 0: the peer was not there."
        " Seconds of all cores stand beside those of the wall, which hold the machine's other"
        " work.",
        "python benchmarks/selection.py",
    ),
    Group(
        "looks",
        "What small pictures are compared by on the page",
        "Digits and USPS's training part, on which these were chosen. *accuracy*: labels spread"
        " from 100 random answers over the 10 nearest neighbours, the mean of 3 draws. *purity*: of"
        " the groups. *pictures an action*: a key names a group and a key takes a wrong tile out, a"
        " group of more than 6 wrong tiles is refused, over the first 100 actions. At most 200"
        " groups are made.",
        "python benchmarks/looks.py --record --auto-encoder",
    ),
    Group(
        "sitting",
        "What is asked next on the page",
        "Digits and USPS's training part, on which this was chosen: 300 actions as in *story*"
        " below, without page and browser, on the functions of the process that learns; a model"
        " after every 7 actions. *groups by size*: groups by size and purity, whatever the"
        " suggestions say of them. *typical to the end*: the queue asks what stands for most others"
        " and never what lies between two classes. *accuracy*: of all labels, blind answers left"
        " out.",
        "python benchmarks/sitting.py --record --plain",
    ),
    Group(
        "page",
        "The labelling page",
        "*story*: 300 actions by keys alone in a real browser, by somebody who knows the truth and"
        " reads it off the pictures on the screen: 20 blind first answers, groups until 120 actions"
        " (a wrong tile is one action, a group of more than 6 wrong ones is refused), five undone"
        " and done again, a class renamed, merged and parted, the queue, the program killed with"
        " three answers on their way, blind answers until 100, the check closed, likely mistakes,"
        " the rest in the queue. *accuracy of the export*: of every picture in `labels.csv`."
        " *interval contains the truth*: the check's interval around the share of right labels at"
        " that moment. Moving the focus is counted apart, in *moves*. The rest: 20,000 JPEG files"
        " of about 10 kB while suggestions are learned, kills at random moments, 1,000,000 rows"
        " without files. The machine is shared: seconds hold the other work on it.",
        "python benchmarks/page.py story digits --seeds 0,1,2,3,4",
    ),
    Group(
        "page_person",
        "Twenty minutes at the labelling page",
        "STL-10's 5,000 training photos as files, the page in a real browser, real time, one"
        " sitting an order. A decision takes 1.6 s after the last key, a key that only moves and a"
        " letter of a name 0.28 s; 2 % of the class keys are those of another class, and nobody"
        " notices: among the groups such a slip names a whole group. *groups first*: blind answers"
        " until there are groups, then those, wrong tiles taken out, a group of more than six"
        " wrong ones refused; the queue after three refused in a row. *one by one, most useful"
        " first*: the queue, at random until there are suggestions. *one by one at random*: the"
        " same, at random throughout. A picture that nobody answered has the label that is"
        " suggested, in all three; *answered alone* leaves those out. Where *s a tile* stands,"
        " looking at a group took so long as well. Blind answers count nowhere here, as in an"
        " export before the check is closed.",
        "python benchmarks/page.py person --order groups",
        measures=("accuracy_export", "accuracy_answered"),
        unit="minutes",
    ),
    Group(
        "scan",
        "Scanning a folder",
        "20,000 JPEG files of 30 kB: headers read, bytes hashed.",
        "python benchmarks/scan.py",
    ),
    Group(
        "startup",
        "How soon the command line answers",
        "In fresh processes; torch is not imported.",
        "python benchmarks/startup.py",
    ),
    Group(
        "kill",
        "Killed and resumed",
        "kill -9 at random moments of a run, then `--resume`: the rounds must come out equal.",
        "python benchmarks/kill.py",
    ),
    Group(
        "fresh_clone",
        "A fresh clone",
        "An empty folder and an empty cache: clone, `make demo`, `make test`.",
        "python benchmarks/fresh_clone.py",
    ),
)
