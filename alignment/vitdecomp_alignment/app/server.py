"""The service behind the page: thin routes from requests to jobs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from vitdecomp.errors import InputError, SpecError, VitdecompError
from vitdecomp_alignment.app.guard import App, Guard
from vitdecomp_alignment.app.jobs import BusyError, Job, JobQueue
from vitdecomp_alignment.app.overview import overview
from vitdecomp_alignment.app.pictures import SIDES, as_jpeg
from vitdecomp_alignment.app.session import Session
from vitdecomp_alignment.app.uploads import BYTES
from vitdecomp_alignment.app.views.cue import OUT
from vitdecomp_alignment.app.views.table import shown, view_of

WAIT = 1.0  # seconds that a request waits for its answer before it is told how far the job is
LONGEST = 10.0
JSON_BYTES = 2**16
TYPES: Mapping[str, str] = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
STATIC = files("vitdecomp_alignment.app").joinpath("static")


def make_app(session: Session, jobs: JobQueue, *, host: str = "127.0.0.1") -> App:
    """Build the service.

    Args:
        session: what is looked into.
        jobs: does the work.
        host: the address that is listened to, whose name requests must bear.
    """
    app = FastAPI(openapi_url=None)
    app.add_exception_handler(VitdecompError, _told)  # type: ignore[arg-type]
    app.add_exception_handler(ClientDisconnect, _too_long)
    static = {place.name: place.read_bytes() for place in STATIC.iterdir() if Path(place.name).suffix in TYPES}
    _add_pages(app, static)
    _add_jobs(app, session, jobs)
    _add_files(app, session)
    return Guard(app, host=host, most=BYTES)


def _add_pages(app: FastAPI, static: Mapping[str, bytes]) -> None:
    @app.get("/")
    async def page() -> Response:
        return Response(static["index.html"], media_type=TYPES[".html"], headers={"cache-control": "no-cache"})

    @app.get("/static/{name}")
    async def asset(name: str) -> Response:
        if name not in static:
            return JSONResponse({"error": f"there is no {name}"}, 404)
        kind = TYPES[Path(name).suffix]
        return Response(static[name], media_type=kind, headers={"cache-control": "no-cache"})


def _add_jobs(app: FastAPI, session: Session, jobs: JobQueue) -> None:
    @app.get("/api/session")
    def told() -> dict[str, Any]:
        return overview(session)

    @app.post("/api/ask/{name}")
    async def ask(name: str, request: Request) -> JSONResponse:
        if not request.headers.get("content-type", "").startswith("application/json"):
            raise InputError("a request must be application/json")
        text = await request.body()
        if len(text) > JSON_BYTES:
            raise InputError(f"a request may have {JSON_BYTES:,} bytes, not {len(text):,}")
        try:
            view = view_of(name, json.loads(text))
        except (ValueError, RecursionError) as error:
            raise InputError(str(error)) from error
        job = jobs.submit((name, view), lambda stage: shown(view, session, stage))
        return await _answer(job, WAIT)

    @app.get("/api/jobs/{name}")
    async def follow(name: str, wait: float = 0.0) -> JSONResponse:
        return await _answer(jobs.of(name), min(max(wait, 0.0), LONGEST))

    @app.delete("/api/jobs/{name}")
    async def cancel(name: str) -> JSONResponse:
        return await _answer(jobs.cancel(name), 0.0)


def _add_files(app: FastAPI, session: Session) -> None:
    uploads = session.uploads  # made here, since requests come from several threads

    @app.post("/api/uploads")
    async def upload(request: Request, name: str = "image") -> JSONResponse:
        data = await request.body()
        kept = await run_in_threadpool(uploads.add, data, unquote(name))
        width, height = kept.size
        return JSONResponse({"id": kept.id, "name": kept.name, "width": width, "height": height})

    @app.get("/api/uploads/{key}")
    def dropped(key: str, side: int = SIDES[-1]) -> Response:
        return _picture(uploads.of(key).image, side)

    @app.get("/api/images/{row}")
    def image(row: int, side: int = SIDES[1]) -> Response:
        return _picture(session.image(row), side)

    @app.get("/api/cues/{name}")
    def cleaned(name: str) -> Response:
        if name not in {file.name for file in session.folder.glob("cue-*.safetensors")}:
            raise SpecError("this model is not here any more: remove the cue again")
        return FileResponse(session.folder / name, filename=OUT, media_type="application/octet-stream")


def _picture(image: Any, side: int) -> Response:
    if side not in SIDES:
        raise SpecError(f"a side of {side} pixels: give one of {', '.join(map(str, SIDES))}")
    data, kind = as_jpeg(image, side)
    return Response(data, media_type=kind, headers={"cache-control": "private, max-age=3600"})


async def _answer(job: Job, wait: float) -> JSONResponse:
    if wait:
        await run_in_threadpool(job.ended.wait, wait)
    return JSONResponse(job.to_json())


def _told(request: Request, error: VitdecompError) -> JSONResponse:
    """Tell what a user can mend, in one line."""
    return JSONResponse({"error": " ".join(str(error).split())}, 503 if isinstance(error, BusyError) else 400)


def _too_long(request: Request, error: Exception) -> JSONResponse:
    """Answer where a body went on beyond the limit, or its sender has gone."""
    return JSONResponse({"error": f"a request may have {BYTES:,} bytes: make the image smaller"}, 413)
