"""Record what a finished demo scored: python benchmarks/demo.py demo/scores.json COMMAND."""

import json
import sys
from pathlib import Path

from record import record


def main() -> None:
    scores, command = json.loads(Path(sys.argv[1]).read_text()), " ".join(sys.argv[2:])
    for network in ("P3D", "2-D twin"):
        found = scores[network]
        row = {
            "network": network,
            "seed": scores["seed"],
            "order_only": round(found["order_only"], 4),
            "video_hit@1": round(found["video_hit@1"], 4),
            "clip_hit@1": round(found["clip_hit@1"], 4),
            "videos": found["videos"],
            "views": found["views"],
            "train_seconds": found["training_seconds"],
            "command": command,
        }
        record("demo", row)
        print(f"{network}: {row['order_only']:.1%} order-only, {row['train_seconds']} s")


if __name__ == "__main__":
    main()
