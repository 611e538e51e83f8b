"""Two reporting guidelines as data: the number of each item, its section, and in our own words what it asks for.

TRIPOD+AI: Collins et al., BMJ 2024;385:e078378, CC BY 4.0. CLAIM: Tejani et al., Radiol Artif Intell 2024;6(4):e240300, (c) RSNA.
``answer`` names what of a study answers the item (a key of ``ANSWERS`` in ``guidelines.py``), ``rest`` what its authors still
have to say then. An item without ``answer`` is theirs.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Item:
    """One item of a guideline, or one of its lettered parts."""

    number: str
    section: str
    asks: str
    answer: str = ""
    rest: str = ""


@dataclass(frozen=True)
class Guideline:
    """A guideline with its items in order."""

    name: str
    citation: str
    items: tuple[Item, ...]


TRIPOD_AI = Guideline(
    "TRIPOD+AI (2024)",
    "Collins GS, Moons KGM, Dhiman P, et al. TRIPOD+AI statement. BMJ 2024;385:e078378, doi:10.1136/bmj-2023-078378.",
    (
        Item("1", "Title", "a title that says development or evaluation, population and outcome"),
        Item("2", "Abstract", "an abstract by TRIPOD+AI for Abstracts"),
        Item("3a", "Introduction", "clinical context, rationale, existing models"),
        Item("3b", "Introduction", "target population, purpose in the care pathway, intended users"),
        Item("3c", "Introduction", "known health inequalities between groups"),
        Item(
            "4",
            "Introduction",
            "objectives; development, evaluation or both",
            "objectives",
            "development, evaluation or both",
        ),
        Item(
            "5a",
            "Methods",
            "sources of the data, why these, how representative",
            "data",
            "kind of source, reasons, representativeness",
        ),
        Item("5b", "Methods", "dates of accrual and follow-up"),
        Item("6a", "Methods", "setting, number and location of centres"),
        Item("6b", "Methods", "eligibility criteria", "selection", "the criteria in clinical words"),
        Item("6c", "Methods", "treatments received and how they were handled"),
        Item(
            "7",
            "Methods",
            "pre-processing and quality checks, alike across groups?",
            "preparation",
            "steps before sidelight; alike across groups?",
        ),
        Item(
            "8a",
            "Methods",
            "outcome: definition, time horizon, assessment, rationale",
            "outcome",
            "definition, time, assessment, rationale",
        ),
        Item("8b", "Methods", "who assessed a subjective outcome, with what qualification"),
        Item("8c", "Methods", "blinding of the outcome assessment"),
        Item("9a", "Methods", "choice of predictors before modelling"),
        Item("9b", "Methods", "definition and measurement of all predictors"),
        Item("9c", "Methods", "who assessed subjective predictors"),
        Item("10", "Methods", "how the study size was arrived at, and whether it suffices"),
        Item("11", "Methods", "missing data: how handled, why data were left out", "missing", "why they are missing"),
        Item(
            "12a", "Methods", "how the data were used and partitioned", "partition", "whether each part is large enough"
        ),
        Item("12b", "Methods", "how predictors were handled"),
        Item(
            "12c",
            "Methods",
            "type of model, all building steps, tuning, internal validation",
            "model",
            "rationale of the type of model",
        ),
        Item("12d", "Methods", "heterogeneity between clusters (hospitals, countries)"),
        Item(
            "12e",
            "Methods",
            "measures and plots of performance, and of comparison",
            "metrics",
            "rationale of the measures",
        ),
        Item("12f", "Methods", "model updating after evaluation", "updating"),
        Item("12g", "Methods", "how predictions were calculated for the evaluation"),
        Item("13", "Methods", "class imbalance: what was done and why", "balance", "reasons"),
        Item("14", "Methods", "approaches to fairness and their rationale", "fairness", "approaches and rationale"),
        Item(
            "15",
            "Methods",
            "output of the model; thresholds and how they were found",
            "output",
            "rationale of a classification",
        ),
        Item(
            "16",
            "Methods",
            "differences between development and evaluation data",
            "sides",
            "setting, eligibility, outcome, predictors",
        ),
        Item("17", "Methods", "ethics approval and consent"),
        Item("18a", "Open science", "funding and the role of funders"),
        Item("18b", "Open science", "conflicts of interest"),
        Item(
            "18c",
            "Open science",
            "where the protocol is, or that there is none",
            "primary",
            "where the whole protocol is",
        ),
        Item("18d", "Open science", "registration, or that there is none"),
        Item("18e", "Open science", "availability of the data"),
        Item("18f", "Open science", "availability of the analytical code", "software", "where the study file is"),
        Item("19", "Patient and public involvement", "involvement of patients and the public, or that there was none"),
        Item("20a", "Results", "flow of participants, with and without the outcome", "flow", "follow-up time"),
        Item(
            "20b",
            "Results",
            "characteristics, events, missing data",
            "characteristics",
            "dates, treatments, follow-up time",
        ),
        Item("20c", "Results", "development and evaluation data compared", "sides"),
        Item("21", "Results", "participants and events in each analysis", "events"),
        Item(
            "22",
            "Results",
            "the full model, for use by others, and restrictions",
            "runs",
            "restrictions of access and use",
        ),
        Item("23a", "Results", "performance with intervals, in key subgroups too", "performance"),
        Item("23b", "Results", "heterogeneity of performance between clusters"),
        Item("24", "Results", "results of updating", "updating"),
        Item(
            "25",
            "Discussion",
            "interpretation, fairness, other studies",
            "findings",
            "interpretation, fairness, other studies",
        ),
        Item("26", "Discussion", "limitations and their effects", "limits", "effects on bias and generalisability"),
        Item("27a", "Discussion", "how poor or absent input is handled in use"),
        Item("27b", "Discussion", "what users have to do, with what expertise"),
        Item("27c", "Discussion", "next steps, applicability, generalisability"),
    ),
)

CLAIM = Guideline(
    "CLAIM (2024 update)",
    "Tejani AS, Klontzas ME, Gatti AA, et al. Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update. "
    "Radiol Artif Intell 2024;6(4):e240300, doi:10.1148/ryai.240300.",
    (
        Item("1", "Title and abstract", "AI methodology and its category named in the title or abstract"),
        Item("2", "Title and abstract", "summary of design, methods, results, conclusions"),
        Item("3", "Introduction", "background, intended use and role of the AI"),
        Item("4", "Introduction", "aims, objectives, hypotheses", "objectives", "hypotheses"),
        Item("5", "Methods: design", "prospective or retrospective"),
        Item("6", "Methods: design", "goal of the study"),
        Item("7", "Methods: data", "sources of the data", "data", "origin, links"),
        Item("8", "Methods: data", "inclusion and exclusion criteria", "selection", "the criteria in clinical words"),
        Item("9", "Methods: data", "pre-processing", "preparation", "steps before sidelight"),
        Item(
            "10", "Methods: data", "how subsets of the data were selected", "selection", "by whom, with what training"
        ),
        Item("11", "Methods: data", "de-identification"),
        Item("12", "Methods: data", "handling of missing data", "missing", "bias that may follow"),
        Item("13", "Methods: data", "image acquisition"),
        Item(
            "14",
            "Methods: reference standard",
            "how the reference standard was obtained",
            "outcome",
            "definition and method",
        ),
        Item("15", "Methods: reference standard", "why this reference standard"),
        Item("16", "Methods: reference standard", "who annotated, with what qualification"),
        Item("17", "Methods: reference standard", "annotation of the test set"),
        Item("18", "Methods: reference standard", "variability between and within annotators"),
        Item("19", "Methods: partitions", "how data were assigned to partitions", "partition", "reasons"),
        Item("20", "Methods: partitions", "level at which partitions are disjoint", "disjoint"),
        Item("21", "Methods: testing data", "intended sample size and how it was found"),
        Item("22", "Methods: model", "description of the model", "model", "layers, inputs and outputs"),
        Item("23", "Methods: model", "software, libraries, versions", "software"),
        Item("24", "Methods: model", "initialisation of the parameters"),
        Item(
            "25",
            "Methods: training",
            "training: augmentation, hyperparameters, convergence",
            "training",
            "augmentation in words",
        ),
        Item("26", "Methods: training", "how the final model was selected", "chosen"),
        Item("27", "Methods: training", "ensembles"),
        Item("28", "Methods: evaluation", "metrics of performance", "metrics"),
        Item("29", "Methods: evaluation", "statistical measures of significance and uncertainty", "uncertainty"),
        Item("30", "Methods: evaluation", "robustness or sensitivity analysis", "robustness"),
        Item("31", "Methods: evaluation", "explainability methods and their validation"),
        Item("32", "Methods: evaluation", "evaluation on internal data", "internal"),
        Item("33", "Methods: evaluation", "testing on external data"),
        Item("34", "Methods: evaluation", "registration of a clinical trial"),
        Item("35", "Results: data", "numbers included and excluded", "flow"),
        Item("36", "Results: data", "characteristics of the cases in each partition", "characteristics"),
        Item("37", "Results: performance", "performance and its uncertainty, by partition and subgroup", "performance"),
        Item("38", "Results: performance", "diagnostic performance and its precision", "diagnostic"),
        Item("39", "Results: performance", "analysis of failures", "failures", "examples and their clinical meaning"),
        Item("40", "Discussion", "limitations", "limits", "effects on bias and generalisability"),
        Item("41", "Discussion", "implications for practice, intended use"),
        Item(
            "42",
            "Other information",
            "where the protocol or further details are",
            "primary",
            "where the whole protocol is",
        ),
        Item(
            "43",
            "Other information",
            "availability of software, model, data",
            "software",
            "availability of model and data",
        ),
        Item("44", "Other information", "funding and the role of funders"),
    ),
)

GUIDELINES = {"tripod+ai": TRIPOD_AI, "claim": CLAIM}
"""By the name that ``sidelight report --checklist`` takes."""
