"""airbyte-cdk: a declarative source, read in process; its records into SQLite or a file of JSON lines.

The CDK ends at the records: storing them is a destination's business, and here the least that does it.
"""

import json
import logging
import os
import resource
import sqlite3
import sys
import time

from airbyte_cdk.models import (
    AirbyteStream,
    ConfiguredAirbyteCatalog,
    ConfiguredAirbyteStream,
    DestinationSyncMode,
    SyncMode,
    Type,
)
from airbyte_cdk.sources.declarative.concurrent_declarative_source import (
    ConcurrentDeclarativeSource,
)

FIELDS = [
    "id", "email", "firstname", "lastname", "company", "city", "phone", "score", "subscribed", "updated_at",
]
# Records between two commits: what martlet's part does.
STRIDE = 2000


def records(url):
    manifest = {
        "version": "6.0.0",
        "type": "DeclarativeSource",
        "check": {"type": "CheckStream", "stream_names": ["contacts"]},
        "spec": {"type": "Spec", "connection_specification": {"type": "object", "properties": {}}},
        "streams": [
            {
                "type": "DeclarativeStream",
                "name": "contacts",
                "primary_key": ["id"],
                "schema_loader": {
                    "type": "InlineSchemaLoader",
                    "schema": {"type": "object", "properties": {name: {} for name in FIELDS}},
                },
                "retriever": {
                    "type": "SimpleRetriever",
                    "requester": {
                        "type": "HttpRequester",
                        "url_base": url,
                        "path": "/v1/contacts",
                        "http_method": "GET",
                        "request_parameters": {"limit": "200"},
                        "authenticator": {"type": "BearerAuthenticator", "api_token": "token"},
                    },
                    "record_selector": {
                        "type": "RecordSelector",
                        "extractor": {"type": "DpathExtractor", "field_path": ["results"]},
                    },
                    "paginator": {
                        "type": "DefaultPaginator",
                        "page_token_option": {
                            "type": "RequestOption",
                            "inject_into": "request_parameter",
                            "field_name": "after",
                        },
                        "pagination_strategy": {
                            "type": "CursorPagination",
                            "cursor_value": "{{ response.get('paging', {}).get('next', {}).get('after') }}",
                            "stop_condition": "{{ not response.get('paging') }}",
                        },
                    },
                },
            }
        ],
    }
    stream = AirbyteStream(name="contacts", json_schema={}, supported_sync_modes=[SyncMode.full_refresh])
    catalog = ConfiguredAirbyteCatalog(
        streams=[
            ConfiguredAirbyteStream(
                stream=stream,
                sync_mode=SyncMode.full_refresh,
                destination_sync_mode=DestinationSyncMode.overwrite,
            )
        ]
    )
    source = ConcurrentDeclarativeSource(catalog=catalog, config={}, state=None, source_config=manifest)
    for message in source.read(logging.getLogger("airbyte"), {}, catalog, None):
        if message.type == Type.RECORD:
            yield message.record.data


def into_sqlite(records, folder):
    sqlite = sqlite3.connect(os.path.join(folder, "contacts.db"))
    sqlite.execute(
        "CREATE TABLE contacts (id TEXT PRIMARY KEY, email TEXT, firstname TEXT, lastname TEXT, company TEXT,"
        " city TEXT, phone TEXT, score INTEGER, subscribed INTEGER, updated_at TEXT)"
    )
    insert = f"INSERT OR REPLACE INTO contacts VALUES ({', '.join('?' * len(FIELDS))})"
    count, rows = 0, []
    for record in records:
        rows.append([record.get(name) for name in FIELDS])
        if len(rows) == STRIDE:
            sqlite.executemany(insert, rows)
            sqlite.commit()
            count, rows = count + len(rows), []
    sqlite.executemany(insert, rows)
    sqlite.commit()
    return count + len(rows)


def into_ndjson(records, folder):
    os.mkdir(os.path.join(folder, "contacts"))
    count = 0
    with open(os.path.join(folder, "contacts", "contacts.ndjson"), "w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n")
            count += 1
            if count % STRIDE == 0:
                file.flush()
                os.fdatasync(file.fileno())
    return count


def main():
    home, url, folder = sys.argv[1:]
    began = time.monotonic()
    count = {"sqlite": into_sqlite, "ndjson": into_ndjson}[home](records(url), folder)
    seconds = time.monotonic() - began
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    told = {
        "records": count,
        "seconds": seconds,
        "cpu_seconds": sum(usage.ru_utime + usage.ru_stime for usage in usages),
        "peak_rss_mib": max(usage.ru_maxrss for usage in usages) / 1024,
    }
    print(json.dumps(told))


main()
