"""dlt: its REST API source into SQLite (by SQLAlchemy) or files of JSON lines, with dlt's defaults but for compression."""

import json
import os
import resource
import shutil
import sys
import time

home, url, folder = sys.argv[1:]
os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
os.environ["RUNTIME__LOG_LEVEL"] = "ERROR"
# The others write plain text, too.
os.environ["NORMALIZE__DATA_WRITER__DISABLE_COMPRESSION"] = "true"

import dlt  # noqa: E402
from dlt.sources.rest_api import rest_api_source  # noqa: E402


def main():
    began = time.monotonic()
    source = rest_api_source(
        {
            "client": {
                "base_url": url,
                "auth": {"type": "bearer", "token": "token"},
                "paginator": {"type": "cursor", "cursor_path": "paging.next.after", "cursor_param": "after"},
            },
            "resources": [
                {
                    "name": "contacts",
                    "primary_key": "id",
                    "write_disposition": "replace",
                    "endpoint": {"path": "v1/contacts", "params": {"limit": 200}, "data_selector": "results"},
                }
            ],
        }
    )
    if home == "sqlite":
        place = os.path.join(folder, "contacts.db")
        destination, dataset, options = dlt.destinations.sqlalchemy(f"sqlite:///{place}"), "main", {}
    else:
        destination = dlt.destinations.filesystem(bucket_url=f"file://{folder}")
        dataset, options = "data", {"loader_file_format": "jsonl"}
    pipeline = dlt.pipeline(
        "extract",
        destination=destination,
        dataset_name=dataset,
        pipelines_dir=os.path.join(folder, "pipelines"),
    )
    pipeline.run(source, **options).raise_on_failed_jobs()
    seconds = time.monotonic() - began
    count = pipeline.last_trace.last_normalize_info.row_counts["contacts"]
    if home == "ndjson":
        # Where the bench looks for them.
        shutil.move(os.path.join(folder, "data", "contacts"), os.path.join(folder, "contacts"))
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    told = {
        "records": count,
        "seconds": seconds,
        "cpu_seconds": sum(usage.ru_utime + usage.ru_stime for usage in usages),
        "peak_rss_mib": max(usage.ru_maxrss for usage in usages) / 1024,
    }
    print(json.dumps(told))


main()
