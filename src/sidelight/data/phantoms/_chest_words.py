"""How the rich reports of the chest phantom say it, in English, German and Japanese: templates, and the words that fill them."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """How one language says it. Templates take ``{side}``, ``{at}``, ``{zone}``, ``{size}``, of both sides ``{where}``,
    ``{zone}`` and of lists ``{list}``.

    :ivar sides: of each side its forms by name; ``zones`` and, by kind, ``sizes`` likewise.
    :ivar both: by kind; ``where`` is "same zone" and "other zones".
    :ivar nouns: by kind, for lists of what is not there; also of ``pneumothorax``.
    :ivar lists: templates, and what joins the last two of their list.
    :ivar frame: the report, with ``{indication}``, ``{comparison}``, ``{technique}``, ``{findings}`` and ``{impression}``.
    """

    sides: Mapping[str, Mapping[str, str]]
    zones: Mapping[str, str]
    sizes: Mapping[str, Mapping[str, str]]
    present: Mapping[str, tuple[str, ...]]
    both: Mapping[str, tuple[str, ...]]
    where: tuple[str, str]
    uncertain: Mapping[str, tuple[str, ...]]
    absent: Mapping[str, tuple[str, ...]]
    nouns: Mapping[str, tuple[str, ...]]
    lists: tuple[tuple[str, str], ...]
    comma: str
    blank: str
    beside: tuple[str, ...]
    normal: tuple[str, ...]
    indication: tuple[str, ...]
    comparison: tuple[str, ...]
    technique: tuple[str, ...]
    frame: str


ENGLISH = Words(
    sides={"right": {"side": "right"}, "left": {"side": "left"}},
    zones={"upper": "upper", "middle": "middle", "lower": "lower"},
    sizes={
        "opacity": {"small": "small", "large": "large"},
        "nodule": {"small": "small", "large": "large"},
        "effusion": {"small": "small", "large": "large"},
        "cardiomegaly": {"small": "mildly", "large": "markedly"},
    },
    present={
        "opacity": (
            "There is a {size} patchy opacity in the {side} {zone} zone.",
            "{size} consolidation in the {zone} zone of the {side} lung.",
            "A {size} airspace opacity projects over the {side} {zone} zone.",
        ),
        "nodule": (
            "A {size} nodule is seen in the {side} {zone} zone.",
            "There is a {size} round nodule in the {zone} zone of the {side} lung.",
        ),
        "effusion": (
            "There is a {size} {side} pleural effusion.",
            "A {size} pleural effusion blunts the {side} costophrenic angle.",
            "{size} effusion at the base of the {side} lung, in the {zone} zone.",
        ),
        "cardiomegaly": ("The heart is {size} enlarged.", "The cardiac silhouette is {size} enlarged."),
    },
    both={
        "opacity": ("There are bilateral opacities {where}.", "Bilateral consolidations {where}."),
        "nodule": ("Bilateral nodules {where}.", "Nodules are seen on both sides, {where}."),
        "effusion": ("Bilateral pleural effusions.", "There are bilateral effusions."),
    },
    where=("in both {zone} zones", "in the right {right} and left {left} zones"),
    uncertain={
        "opacity": (
            "Increased density in the {side} {zone} zone may represent consolidation.",
            "An opacity in the {side} {zone} zone cannot be excluded.",
            "Possible {size} opacity in the {side} {zone} zone.",
        ),
        "nodule": (
            "Questionable {size} nodule in the {side} {zone} zone.",
            "A density in the {zone} zone of the {side} lung could represent a {size} nodule.",
            "A {size} nodule in the {side} {zone} zone is suspected.",
        ),
        "effusion": (
            "Blunting of the {side} costophrenic angle may reflect a {size} effusion.",
            "A {size} {side} pleural effusion cannot be ruled out.",
            "Probable {size} {side} pleural effusion.",
        ),
        "cardiomegaly": ("The heart may be enlarged.", "Cardiomegaly cannot be excluded."),
    },
    absent={
        "opacity": (
            "No focal consolidation.",
            "There is no opacity in either lung.",
            "The previously described opacity has resolved.",
        ),
        "nodule": ("No suspicious nodule.", "A pulmonary nodule is not seen.", "Both lungs are free of nodules."),
        "effusion": (
            "No pleural effusion.",
            "The costophrenic angles are sharp, without effusion.",
            "The previously seen effusion has cleared.",
        ),
        "cardiomegaly": ("No cardiomegaly.", "The heart is not enlarged.", "The heart size is normal."),
    },
    nouns={
        "opacity": ("consolidation", "opacity"),
        "nodule": ("nodule",),
        "effusion": ("pleural effusion", "effusion"),
        "cardiomegaly": ("cardiomegaly",),
        "pneumothorax": ("pneumothorax",),
    },
    lists=(("No {list}.", " or "), ("There is no evidence of {list}.", " or "), ("Neither {list} is seen.", " nor ")),
    comma=", ",
    blank=" ",
    beside=(
        "The bones are intact.",
        "The trachea is in the midline.",
        "Compared with the previous examination, there is no relevant change.",
        "Known arterial hypertension.",
        "The patient is on antibiotics.",
        "Degenerative changes of the spine.",
    ),
    normal=("No acute cardiopulmonary process.", "Normal radiograph of the chest."),
    indication=(
        "___-year-old with cough and fever. Pneumonia?",
        "Shortness of breath. Evaluate for effusion or cardiomegaly.",
        "Weight loss, smoker. Nodule?",
        "Preoperative examination.",
    ),
    comparison=("None.", "Radiograph of ___.", "Prior examination of ___."),
    technique=("Frontal radiograph of the chest.", "Single frontal view, digital."),
    frame=" INDICATION: {indication}\n\n COMPARISON: {comparison}\n\n TECHNIQUE: {technique}\n\n FINDINGS:\n {findings}\n\n"
    " IMPRESSION:\n{impression}\n",
)

GERMAN = Words(
    sides={"right": {"side": "rechten", "at": "rechts"}, "left": {"side": "linken", "at": "links"}},
    zones={"upper": "Oberfeld", "middle": "Mittelfeld", "lower": "Unterfeld"},
    sizes={
        "opacity": {"small": "kleine", "large": "große"},
        "nodule": {"small": "kleiner", "large": "großer"},
        "effusion": {"small": "kleiner", "large": "großer"},
        "cardiomegaly": {"small": "leicht", "large": "deutlich"},
    },
    present={
        "opacity": (
            "{size} Verschattung im {side} {zone}.",
            "Es zeigt sich eine {size} Verschattung {at} im {zone}.",
            "Im {side} {zone} {size} Konsolidierung.",
        ),
        "nodule": ("{size} Rundherd im {side} {zone}.", "Im {side} {zone} stellt sich ein {size} Rundherd dar."),
        "effusion": (
            "{size} Pleuraerguss {at}.",
            "Es zeigt sich ein {size} Erguss {at} im {zone}.",
            "{size} Randwinkelerguss {at}.",
        ),
        "cardiomegaly": ("Das Herz ist {size} vergrößert.", "Der Herzschatten ist {size} verbreitert."),
    },
    both={
        "opacity": ("Beidseitige Verschattungen {where}.", "Beidseits Infiltrate {where}."),
        "nodule": ("Beidseitige Rundherde {where}.", "Beidseits Rundherde {where}."),
        "effusion": ("Beidseitige Pleuraergüsse.", "Pleuraergüsse beidseits."),
    },
    where=("in beiden {zone}ern", "im rechten {right} und im linken {left}"),
    uncertain={
        "opacity": (
            "Fragliche {size} Verschattung im {side} {zone}.",
            "Eine {size} Verschattung im {side} {zone} ist nicht auszuschließen.",
            "V.a. Infiltrat im {side} {zone}.",
        ),
        "nodule": (
            "Fraglicher {size} Rundherd im {side} {zone}.",
            "Verdacht auf einen Rundherd im {side} {zone}.",
            "Ein {size} Rundherd im {side} {zone} kann nicht ausgeschlossen werden.",
        ),
        "effusion": (
            "Möglicher {size} Pleuraerguss {at}.",
            "Ein {size} Erguss {at} ist nicht auszuschließen.",
            "Ergussverdacht {at}.",
        ),
        "cardiomegaly": ("Fragliche Kardiomegalie.", "Eine Herzvergrößerung ist nicht auszuschließen."),
    },
    absent={
        "opacity": (
            "Kein Infiltrat.",
            "Lungen belüftet, ohne Nachweis einer Verschattung.",
            "Die vorbeschriebene Verschattung ist nicht mehr nachweisbar.",
        ),
        "nodule": ("Kein Rundherd.", "Ein Rundherd ist nicht abgrenzbar.", "Keine Lungenrundherde."),
        "effusion": (
            "Kein Pleuraerguss.",
            "Randwinkel frei, ohne Erguss.",
            "Der vorbeschriebene Erguss hat sich zurückgebildet.",
        ),
        "cardiomegaly": ("Keine Kardiomegalie.", "Das Herz ist nicht vergrößert.", "Herz normal groß."),
    },
    nouns={
        "opacity": ("Verschattung", "Infiltrat", "Konsolidierung"),
        "nodule": ("Rundherd",),
        "effusion": ("Erguss", "Pleuraerguss"),
        "cardiomegaly": ("Kardiomegalie",),
        "pneumothorax": ("Pneumothorax",),
    },
    lists=(
        ("Kein Nachweis von {list}.", " oder "),
        ("Ohne Hinweis auf {list}.", " oder "),
        ("Weder {list}.", " noch "),
    ),
    comma=", ",
    blank=" ",
    beside=(
        "Knöcherner Thorax unauffällig.",
        "Trachea mittelständig.",
        "Im Vergleich zur Voraufnahme keine wesentliche Änderung.",
        "Bekannte arterielle Hypertonie.",
        "Der Patient erhält Antibiotika.",
        "Degenerative Veränderungen der Wirbelsäule.",
    ),
    normal=("Kein akuter Befund.", "Altersentsprechender Normalbefund."),
    indication=(
        "Husten und Fieber. Pneumonie?",
        "Dyspnoe. Erguss? Kardiomegalie?",
        "Gewichtsverlust, Raucher. Rundherd?",
        "Präoperative Untersuchung.",
    ),
    comparison=("Keine.", "Aufnahme vom ___."),
    technique=("Thorax in einer Ebene.", "Digitale Aufnahme."),
    frame="Klinische Angaben: {indication}\nVoraufnahmen: {comparison}\nTechnik: {technique}\n\nBefund:\n{findings}\n\n"
    "Beurteilung:\n{impression}\n",
)

JAPANESE = Words(
    sides={"right": {"side": "右"}, "left": {"side": "左"}},
    zones={"upper": "上肺野", "middle": "中肺野", "lower": "下肺野"},
    sizes={
        "opacity": {"small": "小さな", "large": "広範な"},
        "nodule": {"small": "小さな", "large": "大きな"},
        "effusion": {"small": "少量の", "large": "多量の"},
        "cardiomegaly": {"small": "軽度の", "large": "高度の"},
    },
    present={
        "opacity": ("{side}{zone}に{size}浸潤影を認める。", "{side}{zone}に{size}コンソリデーションあり。"),
        "nodule": ("{side}{zone}に{size}結節を認める。", "{side}{zone}に{size}結節影がみられる。"),
        "effusion": ("{side}側に{size}胸水を認める。", "{size}{side}胸水あり。"),
        "cardiomegaly": ("{size}心拡大を認める。", "{size}心拡大あり。"),
    },
    both={
        "opacity": ("両肺（{where}）に浸潤影を認める。", "両側{where}に浸潤影あり。"),
        "nodule": ("両肺（{where}）に結節を認める。", "両側{where}に結節影あり。"),
        "effusion": ("両側に胸水を認める。", "両側胸水あり。"),
    },
    where=("{zone}", "右{right}と左{left}"),
    uncertain={
        "opacity": ("{side}{zone}に{size}浸潤影の疑い。", "{side}{zone}の浸潤影を否定できない。"),
        "nodule": ("{side}{zone}に{size}結節の疑い。", "{side}{zone}に結節影の可能性がある。"),
        "effusion": ("{size}{side}胸水の疑い。", "{side}胸水の可能性を否定できません。"),
        "cardiomegaly": ("心拡大の疑い。", "心拡大の可能性がある。"),
    },
    absent={
        "opacity": ("浸潤影は認めない。", "肺野に浸潤影なし。", "前回の浸潤影は消失している。"),
        "nodule": ("結節なし。", "結節影は認めません。", "明らかな結節は指摘できない。"),
        "effusion": ("胸水なし。", "胸水は認めません。", "前回みられた胸水は消失した。"),
        "cardiomegaly": ("心拡大なし。", "心拡大は認めない。"),
    },
    nouns={
        "opacity": ("浸潤影", "コンソリデーション"),
        "nodule": ("結節",),
        "effusion": ("胸水",),
        "cardiomegaly": ("心拡大",),
        "pneumothorax": ("気胸",),
    },
    lists=(("{list}なし。", "、"), ("{list}は認めない。", "や"), ("{list}はみられません。", "、")),
    comma="、",
    blank="",
    beside=(
        "骨に異常なし。",
        "気管の偏位なし。",
        "前回と比較して著変なし。",
        "高血圧の既往あり。",
        "抗菌薬内服中。",
    ),
    normal=("異常所見なし。", "明らかな異常を認めません。"),
    indication=("咳嗽、発熱。肺炎の疑い。", "呼吸困難。胸水や心拡大の有無。", "体重減少。結節の精査。", "術前検査。"),
    comparison=("なし。", "前回の単純写真。"),
    technique=("胸部単純撮影、正面。",),
    frame="【検査目的】{indication}\n【比較】{comparison}\n【撮影方法】{technique}\n【所見】\n{findings}\n【診断】\n{impression}\n",
)
WORDS: Mapping[str, Words] = {"en": ENGLISH, "de": GERMAN, "ja": JAPANESE}
