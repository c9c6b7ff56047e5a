"""The form of the answers, for the documentation."""

from pydantic import BaseModel, Field


class Limits(BaseModel):
    """What one upload may cost."""

    upload_bytes: int
    seconds: float
    frames: int
    pixels: int


class ModelCard(BaseModel):
    """What the network is."""

    name: str
    classes: list[str]
    input: str = Field(description="video or scan")
    frames: int | None
    size: list[int] = Field(description="pixels, height and width; of a scan also depth")
    seconds: float | None = Field(description="typical length of a training clip")
    protocol: str = Field(description="how the scores were made")
    scores: dict
    training: dict
    preprocessing: dict
    precision: str
    notes: list[str]
    limits: Limits
    token_required: bool
    research_use_only: bool


class Health(BaseModel):
    """Whether the service can answer."""

    status: str = Field(description="ready, loading or failed")
    error: str | None = None


class Class(BaseModel):
    """A class with its probability."""

    label: str
    score: float


class Entry(BaseModel):
    """A window of a video."""

    start: float
    end: float
    label: str
    score: float
    top: list[Class]


class Segment(BaseModel):
    """A stretch of one class, s."""

    start: float
    end: float
    label: str
    score: float


class Segments(BaseModel):
    """What happens in a long video."""

    source: str
    segments: list[Segment]
    duration: float
    problem: str | None


class Importance(BaseModel):
    """How much each frame counted; the values sum to 1."""

    times: list[float]
    values: list[float]
    target: str
    method: str


class Heat(BaseModel):
    """Where the network looked, over the whole picture."""

    times: list[float]
    rows: int
    cols: int
    values: str = Field(description="base64 of times * rows * cols bytes, row by row")


class Prediction(BaseModel):
    """What happens in a video; a scan has `curve` and `viewer` instead of the timeline."""

    source: str
    kind: str = Field(description="video or scan")
    label: str
    score: float | None
    top: list[Class]
    timeline: list[Entry] = []
    duration: float | None = None
    fps: float | None = None
    frames: int | None = None
    width: int | None = None
    height: int | None = None
    problem: str | None = Field(None, description="why the end of the video is missing")
    segments: list[Segment] | None = None
    importance: Importance | None = None
    heat: Heat | None = None
    curve: list[float | None] | None = Field(
        None, description="one value per slice of a scan, null where the network did not look"
    )
    viewer: str | None = Field(None, description="a page of HTML that shows the scan")


class Features(BaseModel):
    """What a layer says."""

    source: str
    layer: str
    shape: list[int]
    values: list = Field(description="nested as `shape` says")
    windows: list[dict]
    problem: str | None
