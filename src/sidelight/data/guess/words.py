"""What columns, folders and values are called, in English and German: a small dictionary of hints."""

import re
from collections.abc import Iterable, Mapping

from sidelight.data.cells import plain as plain

LEVELS: Mapping[str, tuple[str, ...]] = {
    "patient": ("patient", "pat", "pid", "patid", "patnr", "subject", "subj", "proband", "person", "case", "fall"),
    "lesion": ("lesion", "laesion", "les", "nevus", "naevus", "mole", "hautveraenderung", "herd"),
    "study": ("study", "studie", "exam", "examination", "untersuchung", "accession", "visit", "besuch", "session"),
    "series": ("series", "serie", "sequence", "sequenz"),
    "recording": ("recording", "group", "gruppe", "cluster"),
    "clip": ("clip", "video", "cine"),
}
"""Levels from the outermost, with the words that name them."""

SPLITS = ("train", "training", "test", "testing", "val", "valid", "validation", "dev", "fold")
PARTS = ("part", "teil", "batch", "set", "folder", "ordner", "images", "imgs", "data", "daten", "chunk", *SPLITS)
VIEW_NAMES = ("view", "projection", "projektion", "plane", "ebene", "ansicht", "probe", "schallkopf", "modality")
VIEWS = (
    *("pa", "ap", "ll", "lat", "lateral", "frontal", "seitlich", "supine", "erect", "cc", "mlo"),
    *("axial", "coronal", "koronar", "sagittal", "transversal", "longitudinal", "kurzachse", "langachse"),
    *("convex", "linear", "konvex", "phased", "sector", "curved", "a4c", "a2c", "plax", "psax"),
    *("derm", "dermoscopic", "dermoscopy", "dermatoskopisch", "clinical", "clinic", "klinisch", "klinik"),
    *("overview", "uebersicht", "macro", "makro", "closeup", "nah", "fern"),
)
LETTERS: tuple[Mapping[str, str], ...] = (
    {"D": "dermoscopic", "K": "clinical"},
    {"D": "dermoscopic", "C": "clinical"},
    {"C": "clinical", "D": "dermoscopic", "O": "overview"},
    {"D": "dermoscopic", "K": "clinical", "U": "overview"},
)
"""What single letters mean that stand together in file names."""

LABELS = (
    *("diagnosis", "diagnostic", "diagnose", "dx", "histology", "histologie", "histopathology", "histopathologie"),
    *("pathology", "pathologie", "label", "target", "class", "klasse", "category", "malignant", "malignancy"),
    *(
        "malignitaet",
        "maligne",
        "dignity",
        "dignitaet",
        "birads",
        "rads",
        "healthy",
        "gesund",
        "finding",
        "findings",
        "disease",
    ),
    *("krankheit", "entity", "entitaet", "grade", "benign", "groundtruth", "gt", "befund"),
)
AFTERWARDS = (
    *("biopsed", "biopsied", "biopsy", "biopsie", "biopsiert", "excised", "excision", "exzision", "exzidiert"),
    *("dxtype", "confirm", "confirmed", "treatment", "therapy", "therapie", "surgery", "operation", "survival"),
    *("ueberleben", "outcome", "followup", "death", "verstorben", "icu", "intubated", "severity", "stage", "staging"),
    *("stadium", "metastasis", "metastase", "breslow", "mitotic"),
)
"""Known only with, or because of, the diagnosis: a model that sees it does not need the image."""

PERSONAL = (
    *("name", "vorname", "nachname", "surname", "firstname", "lastname", "birth", "birthdate", "birthday", "dob"),
    *("geburt", "geburtsdatum", "geboren", "insurance", "versicherung", "versichertennummer", "kvnr", "ssn", "mrn"),
    *("phone", "telefon", "mobile", "email", "mail", "address", "adresse", "street", "strasse", "plz", "zip"),
    *("initials", "initialen", "physician", "arzt", "aerztin", "operator"),
)
NUMBERS = ("id", "nr", "no", "num", "number", "nummer", "uid", "uuid", "code", "index", "key", "lfd", "lfdnr")
ADMIN = (
    *(
        "license",
        "licence",
        "lizenz",
        "source",
        "quelle",
        "doi",
        "url",
        "link",
        "file",
        "filename",
        "datei",
        "dateiname",
    ),
    *("path", "pfad", "repo", "framerate", "fps", "resolution", "length", "version", "title", "changes"),
)
"""About the files rather than about what they show."""
REMARKS = (
    "comment",
    "comments",
    "kommentar",
    "bemerkung",
    "remark",
    "remarks",
    "note",
    "notes",
    "notiz",
    "md",
    "other",
)
TEXTS = (
    "report",
    "befund",
    "befundtext",
    "text",
    "notes",
    "note",
    "impression",
    "beurteilung",
    "findings",
    "narrative",
)
PATIENT = (
    *("age", "alter", "sex", "gender", "geschlecht", "smoke", "smoker", "smoking", "raucher", "rauchen", "drink"),
    *("alcohol", "alkohol", "history", "anamnese", "family", "familie", "familiaer", "fitzpatrick", "fitspatrick"),
    *("hauttyp", "skintype", "ethnicity", "race", "bmi", "weight", "gewicht", "pesticide", "diabetes"),
    *("hypertension", "hypertonie", "background", "father", "mother", "water", "sewage"),
)
CLASSES = (
    *("benign", "malignant", "normal", "abnormal", "healthy", "sick", "gutartig", "boesartig", "gesund", "krank"),
    *("pneumonia", "covid", "covid19", "tumor", "tumour", "cancer", "melanoma", "melanom", "nevus", "naevus", "nv"),
    *("mel", "nev", "bcc", "scc", "bkl", "akiec", "ack", "sek", "vasc", "positive", "negative", "positiv", "negativ"),
    *(
        "control",
        "kontrolle",
        "regular",
        "lesion",
        "polyp",
        "glioma",
        "meningioma",
        "pituitary",
        "fracture",
        "nofinding",
    ),
)
FINDINGS = (
    *("abnormal", "abnormality", "auffaellig", "pathologisch", "acl", "pcl", "mcl", "lcl", "meniscus", "meniskus"),
    *("tear", "rupture", "ruptur", "riss", "fracture", "fraktur", "luxation", "effusion", "erguss", "edema", "oedem"),
    *("pneumonia", "pneumonie", "pneumothorax", "atelectasis", "atelektase", "infiltrate", "infiltrat", "opacity"),
    *("consolidation", "konsolidierung", "cardiomegaly", "kardiomegalie", "nodule", "stenosis", "stenose", "plaque"),
    *("thrombus", "thrombosis", "thrombose", "hemorrhage", "haemorrhage", "blutung", "ischemia", "ischaemie"),
)
"""What a column of 0 and 1 says that an image shows."""
NEGATIVE = (
    *("0", "no", "none", "nein", "false", "negative", "negativ", "normal", "healthy", "gesund", "control", "kontrolle"),
    *("benign", "gutartig", "unauffaellig", "ohne", "kein", "keine", "nofinding", "absent", "regular"),
)
"""Classes that are the other one of two."""
NOTHING = (
    "nofinding",
    "nofindings",
    "none",
    "normal",
    "unauffaellig",
    "ohnebefund",
    "keinbefund",
    "unremarkable",
    "healthy",
)
"""What a cell of several labels says where it has none."""
MALIGNANT = (
    *("malignant", "maligne", "boesartig", "mel", "melanoma", "melanom", "bcc", "scc", "basalioma", "basaliom"),
    *(
        "basalzellkarzinom",
        "plattenepithelkarzinom",
        "spinaliom",
        "carcinoma",
        "karzinom",
        "cancer",
        "akiec",
        "mm",
        "malignes",
    ),
)
MASKS = ("mask", "masks", "maske", "masken", "segmentation", "segmentations", "seg", "roi", "annotation", "annotations")
FRAMES = ("frame", "frames", "slice", "slices", "schicht", "schichten")
CLIPS = ("clip", "clips", "cine", "video", "videos", "loop", "loops", "stack", "stacks", "series", "serie", "sequence")


def split(text: str) -> list[str]:
    """The words of a column or folder name: ``"PatientID_neu2"`` -> ``["patient", "id", "neu"]``."""
    apart = re.sub(r"(?<=[a-zäöüß0-9])(?=[A-ZÄÖÜ])", " ", text)
    return [word for word in re.split(r"[^a-z]+", plain(apart)) if word]


def meets(text: str, known: Iterable[str]) -> bool:
    """Whether a word of ``text``, or all of it run together, is known, or begins like a known word of five letters."""
    words = split(text)
    words.append("".join(words))
    return any(word == one or (len(one) >= 5 and word.startswith(one)) for word in words for one in known)


def level_of(text: str) -> str:
    """The level that a column or a prefix names, "" for none."""
    words = split(text)
    for word in words:  # the first word counts: lesion_of_patient is a lesion
        for level, known in LEVELS.items():
            if any(word == one or (len(one) >= 5 and word.startswith(one)) for one in known):
                return level
    return ""


def names_level(column: str) -> str:
    """The level whose ids a column holds by its name: ``lesion_nr`` and ``PatientID`` do, ``patient_age`` does not."""
    joined = "".join(split(column))
    for level, known in LEVELS.items():
        if re.fullmatch(rf"(?:{'|'.join(known)})(?:en|s|e)?(?:{'|'.join(NUMBERS)})?", joined):
            return level
    return ""
