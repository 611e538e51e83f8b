"""The words of the weak labeller, by language: which findings there are, and what denies them, doubts them, or ends such a scope.

All are regular expressions that are searched anywhere in a sentence, in any capitals; Japanese has no blanks between words, and
German writes compounds, so that ``erguss`` is also in Pleuraerguss. A further language is an entry in :data:`CUES`, and in
:data:`FINDINGS` if users shall not have to name theirs.

English findings are those of CheXpert (Irvin et al., AAAI 2019) but for "No Finding", which no words name; the patterns are ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Direction = Literal["before", "after", "inside", "either"]
Verdict = Literal["absent", "uncertain", "none"]


@dataclass(frozen=True)
class Cues:
    """What decides about a mention.

    :ivar said: verdict, where the cue stands (before what it is about, after it, inside the mention, or either), pattern.
        Where two overlap the longer one counts, so that "none" takes the "no" out of "no change".
    :ivar ends: where a scope ends.
    """

    said: tuple[tuple[Verdict, Direction, str], ...]
    ends: str


_OF = r"(?:(?:clear|definite|significant|relevant|interval|appreciable|evidence|signs?|of|any?) ){0,4}"
_SEEN = r"(?:seen|visible|visuali[sz]ed|identified|present|evident|appreciated|demonstrated|found|noted|detected|shown)"

_SAME = r"(?:change|increase|decrease|improvement|worsening|progress\w*|resolution|clearing|resorption)"
_TO_SUGGEST = (
    rf"\b(?:no|not|without|absence of|negative for)\b(?! {_OF}{_SAME}\b)"
    r"(?:(?!\b(?:but|however|although|though|and|with|except)\b)[^.;,:]){0,60}?"
    r"\b(?:(?:to )?suggest\w*(?: of)?|suspicious (?:for|of)|concern(?:ing)? for|worrisome for|(?:consistent|compatible) with)\b"
)
"""What "no opacity to suggest" denies on both sides; "and" and "but" end it."""

CUES: Mapping[str, Cues] = {
    "en": Cues(
        said=(
            ("absent", "before", _TO_SUGGEST),
            (
                "none",
                "after",
                r"\b(?:has|have|had)(?:n['’]t| not) (?:yet )?(?:completely |fully |entirely )?(?:resolved|cleared)\b",
            ),
            ("absent", "after", rf"\b(?:is|are|was|were)n['’]t (?:clearly )?{_SEEN}\b"),
            ("absent", "either", r"\b(?:unlikely|not likely|improbable)\b(?: to (?:be|represent))?"),
            ("absent", "after", r":\s*(?:no|none|absent|negative|nil)\b"),
            (
                "none",
                "before",
                rf"\b(?:no|without) {_OF}(?:change|increase|decrease|improvement|worsening|progress\w*)\b",
            ),
            ("none", "before", rf"\b(?:no|without) {_OF}(?:resolution|clearing|resorption)\b"),
            (
                "none",
                "before",
                r"\bnot (?:only|(?:significantly |substantially )?(?:changed|increased|decreased|improved))\b",
            ),
            ("none", "after", r"\bnot (?:yet )?(?:completely |fully |entirely )?(?:resolved|cleared)\b"),
            (
                "absent",
                "before",
                r"\b(?:no|not|without|neither|nor|absence of|absent|free of|clear of|negative for|denies)\b",
            ),
            (
                "absent",
                "before",
                r"\bno (?:suspicion (?:of|for)|(?:evidence|signs?) of (?:a )?(?:possible|probable))\b",
            ),
            (
                "absent",
                "before",
                r"\b(?:resolution|clearing|removal) of\b|\brather than\b|^(?:interval |now )?resolved\b",
            ),
            ("absent", "after", rf"\b(?:not|no longer) (?:clearly )?{_SEEN}\b"),
            (
                "absent",
                "after",
                r"\b(?:has|have|had) (?:since |now |completely |fully )?(?:resolved|cleared)\b|(?<!^)\bresolved\b",
            ),
            (
                "absent",
                "after",
                r"\b(?:is|are|was|were) (?:absent|excluded|ruled out|removed)\b|\bbeen (?:removed|excluded)\b",
            ),
            ("absent", "inside", r"\b(?:normal|unremarkable)\b"),
            (
                "uncertain",
                "before",
                r"\b(?:possibl[ey]|probabl[ey]|likely|suspected|questionable|question of|presumed|equivocal)\b",
            ),
            (
                "uncertain",
                "before",
                r"\b(?:may|might|could) (?:also )?(?:be|represent|reflect|indicate|suggest|relate to)\b",
            ),
            (
                "uncertain",
                "before",
                r"\b(?:suspicious|suspicion|concern(?:ing)?|worrisome) (?:for|of)\b|\bsuggest\w* (?:of )?\b",
            ),
            (
                "uncertain",
                "before",
                r"\b(?:cannot|can not|difficult to) (?:be )?(?:entirely |completely )?(?:exclude|rule out)\b",
            ),
            ("uncertain", "before", r"\bdifferential\b(?: diagnosis)?(?: includes| is)?"),
            (
                "uncertain",
                "after",
                r"\b(?:cannot|can not) be (?:entirely |completely |definitely )?(?:excluded|ruled out)\b",
            ),
            ("uncertain", "after", r"\b(?:is|are) (?:possible|suspected|likely|questionable|difficult to exclude)\b"),
            (
                "uncertain",
                "after",
                r"\bnot (?:entirely |definitely |completely )?(?:excluded|ruled out)\b|\bmay be (?:present|seen)\b",
            ),
            ("uncertain", "either", r"\b(?:versus|vs)\b"),
            ("uncertain", "inside", r"\b(?:may|might|could)\b"),
        ),
        ends=r";|\b(?:but|however|although|though|except|apart from|aside from|other than|while|whereas)\b"
        r"|\band (?:there|the|an?)\b",
    ),
    "de": Cues(
        said=(
            ("absent", "inside", r"\bkein\w{0,2} \w{0,40}verdacht\b"),
            ("absent", "before", r"\bkein\w{0,2} (?:v\. ?a\.|verdacht auf)"),
            ("absent", "either", r"\bunwahrscheinlich\w*"),
            ("absent", "after", r":\s*(?:kein\w{0,2}|nein|negativ\w*|fehl\w+)\b"),
            ("absent", "after", r"\b(?:liegt|liegen|besteht|bestehen)\b[^.;,]{0,30}?\bnicht(?: mehr)?\b(?: vor\b)?"),
            (
                "none",
                "before",
                r"\bkeine? (?:(?:wesentlich|relevant|sicher)\w* )?(?:befund)?(?:änderung|rückbildung|zunahme|abnahme)",
            ),
            (
                "none",
                "after",
                r"\bnicht (?:vollständig |komplett )?(?:zurückgebildet|resorbiert|regredient|größer|verändert)",
            ),
            ("none", "before", r"\bnicht nur\b|\bohne (?:wesentliche )?(?:änderung|rückbildung)"),
            ("absent", "before", r"\b(?:kein(?:e[mnrs]?)?|ohne|nicht|weder|frei von|fehlend\w*)\b"),
            (
                "absent",
                "before",
                r"\b(?:kein(?:en?)?|ohne) (?:(?:sicher|konkret)\w* )?(?:(?:nach|hin)weis|anhalt|verdacht)(?: (?:für|auf|von))?",
            ),
            ("absent", "before", r"\b(?:rückbildung|ausschluss)\w* (?:von|des|der|eine[rs]?)\b"),
            (
                "absent",
                "after",
                r"\bnicht (?:mehr )?(?:(?:nachweis|abgrenz|erkenn|sicht|darstell)bar|vorhanden|gesehen|zu (?:sehen|erkennen))",
            ),
            (
                "absent",
                "after",
                r"\b(?:vollständig |komplett )?(?:zurückgebildet|resorbiert|verschwunden)|\bausgeschlossen\b",
            ),
            ("absent", "inside", r"\bnormal|\bunauffällig"),
            (
                "uncertain",
                "before",
                r"\b(?:fraglich|möglich|wahrscheinlich|vermutlich|mutmaßlich|evtl|eventuell)\w*|\bam ehesten\b",
            ),
            ("uncertain", "before", r"\bverdacht (?:auf|eine[rs])\b|\bv\. ?a\.|\bverdächtig (?:auf|für)\b|\bdd\b"),
            (
                "uncertain",
                "after",
                r"verdacht\b|verdächtig|\b(?:ist|sind) (?:fraglich|denkbar|wahrscheinlich)\b|\bmöglich\b",
            ),
            (
                "uncertain",
                "after",
                r"\bnicht (?:sicher |gänzlich )?(?:auszuschließen|ausgeschlossen|ausschließbar|abzugrenzen)",
            ),
            ("uncertain", "inside", r"\b(?:fraglich|möglicherweise|eventuell)\b"),
        ),
        ends=r";|\b(?:aber|jedoch|hingegen|dagegen|sondern|bis auf|außer|abgesehen von|während|bei)\b"
        r"|\bund (?:eine?|der|die|das|es)\b",
    ),
    "ja": Cues(
        said=(
            ("none", "after", r"少なく(?:は)?(?:ない|ありません)"),
            (
                "none",
                "after",
                r"(?:著変|変化|増大|増加|増悪|変わり)(?:は|を)?(?:なし|ない|ありません|認め(?:ない|ません|ず))",
            ),
            ("none", "after", r"消失(?:し)?(?:は(?:認め(?:ない|ません)|なし|ない)|て(?:は)?い(?:ない|ません)|ない)"),
            (
                "absent",
                "after",
                r"(?:認め|認められ|みられ|見られ|指摘でき)(?:ない|ません|ず|なかった)|(?:なし|無し|ありません|(?<!少)ない|(?<!少)なく)|消失",
            ),
            (
                "absent",
                "after",
                r"(?:を)?(?:疑い|疑う(?:所見|陰影)?|可能性)(?:は|を)?(?:なし|ない|乏しい|低い|認め(?:ない|ません|ず))",
            ),
            ("absent", "inside", r"正常"),
            (
                "uncertain",
                "after",
                r"(?:の)?疑(?:い|う|われ|わしい)|(?:を|は)?否定(?:は)?でき(?:ない|ません|ず)|(?:の)?可能性|かもしれ|示唆",
            ),
            ("uncertain", "after", r"可能性(?:を|は)?(?:否定|除外)でき(?:ない|ません)"),
            ("uncertain", "before", r"疑わしい|s/o"),
        ),
        ends=r"(?:を|が|は)?(?:認め(?:る|ます)?|あり(?:ます)?|(?:み|見)られ(?:る|ます)?)(?:、|が|ものの)|(?<=なく)、|一方|しかし|ただし",
    ),
}

FINDINGS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "en": {
        "enlarged_cardiomediastinum": (
            r"mediastin\w{1,12}[^.;,]{0,30}?(?:widen\w*|enlarge\w*|normal|unremarkable)",
            r"(?:widen\w{0,4}|enlarge\w{0,4}|normal|unremarkable) (?:\w{1,12} )?(?:cardio)?mediastin\w+",
        ),
        "cardiomegaly": (
            r"cardiomegaly",
            r"\b(?:heart|cardiac (?:silhouette|size|contour))\b[^.;,]{0,30}?(?:enlarge\w*|normal|unremarkable)",
            r"enlarge\w{0,4} (?:of the )?(?:heart|cardiac)|normal (?:heart|cardiac) size",
        ),
        "lung_lesion": (r"\bnodul\w+", r"\bmass(?:es)?\b", r"\btumou?rs?\b", r"\b(?:lung|pulmonary) lesions?\b"),
        "lung_opacity": (r"opaci\w+", r"infiltrat\w+", r"\bair-? ?space disease"),
        "edema": (r"\bo?edema", r"vascular congestion", r"heart failure", r"fluid overload"),
        "consolidation": (r"consolidat\w+",),
        "pneumonia": (r"pneumonia\w*", r"\binfecti(?:on|ous process)\b"),
        "atelectasis": (r"atelecta\w+", r"(?:lobar|lung) collapse"),
        "pneumothorax": (r"pneumothora\w+",),
        "pleural_effusion": (r"(?<!pericardial )\beffusions?\b", r"pleural fluid"),
        "pleural_other": (r"pleural (?:thickening|plaques?|scar\w*)",),
        "fracture": (r"fractur\w+",),
        "support_devices": (
            r"\b(?:endotracheal|enteric|nasogastric|chest|tracheostomy) tubes?\b",
            r"\b(?:catheters?|pacemakers?|picc|port-a-cath|defibrillators?|central (?:venous )?lines?)\b",
        ),
    },
    "de": {
        "opacity": (r"verschattung", r"infiltrat", r"konsolidier", r"verdichtung"),
        "nodule": (r"rundherd", r"lungenherd", r"\bnodul"),
        "effusion": (r"(?<!perikard)(?<!gelenk)erg(?:u|ü)(?:ss|ß)",),
        "cardiomegaly": (
            r"kardiomegalie|herz(?:verbreiterung|vergrößerung)",
            r"\bherz(?:schatten|silhouette)?\b[^.;,]{0,30}?(?:vergrößert|verbreitert|normal|unauffällig)",
        ),
        "pneumothorax": (r"pneumothora",),
    },
    "ja": {
        "opacity": ("浸潤影", "コンソリデーション", "透過性低下", "すりガラス"),
        "nodule": ("結節", "腫瘤"),
        "effusion": ("胸水",),
        "cardiomegaly": ("心拡大", "心陰影(?:の)?拡大", "心肥大"),
        "pneumothorax": ("気胸",),
    },
}
