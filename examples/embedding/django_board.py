"""Notices for everybody: Django, with the gateway at /realtime.

    uvicorn --app-dir examples/embedding django_board:app

In a project of several files the last line is that of ``asgi.py``.
"""

import json
import secrets

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

from gateway.embed import Gateway

settings.configure(
    ALLOWED_HOSTS=["localhost", "127.0.0.1"], ROOT_URLCONF=__name__, SECRET_KEY=secrets.token_hex()
)
django.setup()
gateway = Gateway()


def post_notice(request: HttpRequest, board: str) -> JsonResponse:
    """Publish a notice on its topic, from a view like any other."""
    published = gateway.publish_sync(f"notices/{board}", json.loads(request.body))
    return JsonResponse({"id": published.id}, status=202)


async def post_notice_async(request: HttpRequest, board: str) -> JsonResponse:
    """The same from an asynchronous view."""
    published = await gateway.publish(f"notices/{board}", json.loads(request.body))
    return JsonResponse({"id": published.id}, status=202)


urlpatterns = [path("notices/<str:board>", post_notice), path("async/notices/<str:board>", post_notice_async)]
app = gateway.mount(get_asgi_application(), "/realtime")
