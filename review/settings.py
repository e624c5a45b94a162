"""The one settings file. The environment is read here only; a wrong value stops the start."""

import os
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from celery.schedules import schedule
from django.core.exceptions import ImproperlyConfigured

from review.core.embedded import paths

BASE_DIR = Path(__file__).resolve().parent.parent


def env_str(name: str, default: str | None = None) -> str:
    """The variable, or the text of the file that NAME_FILE points at, or the default."""
    if file := os.environ.get(f"{name}_FILE"):
        return Path(file).read_text(encoding="utf-8").strip()
    if value := os.environ.get(name):
        return value
    if default is None:
        raise ImproperlyConfigured(f"{name} is not set (nor {name}_FILE)")
    return default


def env_bool(name: str, default: bool) -> bool:
    value = env_str(name, str(default)).lower()
    if value not in {"true", "false"}:
        raise ImproperlyConfigured(f"{name} must be true or false, not {value!r}")
    return value == "true"


def env_int(name: str, default: int) -> int:
    value = env_str(name, str(default))
    if not value.isdecimal():
        raise ImproperlyConfigured(f"{name} must be a whole number, not {value!r}")
    return int(value)


def env_list(name: str, default: str = "") -> list[str]:
    return [part.strip() for part in env_str(name, default or ",").split(",") if part.strip()]


def postgres(url: str) -> dict[str, object]:
    """Django's connection settings of postgres://user:password@host:port/name?host=/socket."""
    parts = urlsplit(url)
    if parts.scheme not in {"postgres", "postgresql"}:
        raise ImproperlyConfigured("DATABASE_URL must be a postgresql:// URL: no other database")
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": query.pop("host", unquote(parts.hostname or "")),
        "PORT": query.pop("port", str(parts.port or "")),
        "CONN_HEALTH_CHECKS": True,
        "CONN_MAX_AGE": 300,
        "OPTIONS": query,
    }


SECRET_KEY = env_str("SECRET_KEY")
DEBUG = env_bool("DEBUG", False)
ALLOWED_HOSTS = env_list("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = env_list("CSRF_TRUSTED_ORIGINS")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "csp",
    "django_htmx",
    "template_partials",
    "rest_framework",
    "drf_spectacular",
    "review.core",
    "review.accounts",
    "review.runs",
    "review.rollouts",
    "review.verifiers",
    "review.sampling",
    "review.labeling",
    "review.calibration",
    "review.flows",
    "review.web",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "review.web.middleware.ReviewErrorMiddleware",
]

ROOT_URLCONF = "review.urls"
WSGI_APPLICATION = "review.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# Development, demo, tests and production all run PostgreSQL: with no DATABASE_URL the embedded one.
DATABASES = {"default": postgres(env_str("DATABASE_URL", paths.database_url()))}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "accounts.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("MinimumLengthValidator", "CommonPasswordValidator", "NumericPasswordValidator")
]
LOGIN_URL = "web:login"
LOGIN_REDIRECT_URL = "web:home"
LOGOUT_REDIRECT_URL = "web:login"

# How many proxies stand before the server, each of which adds the address of whoever called it to
# X-Forwarded-For. What a client writes there itself is further to the left, and not believed.
TRUSTED_PROXIES = env_int("TRUSTED_PROXIES", 0)

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
# Static files are few and small: served from the tree, so that no step has to collect them.
WHITENOISE_USE_FINDERS = True

# Plain HTTP is for one's own machine: the demo sets HTTPS=false.
HTTPS = env_bool("HTTPS", True)
SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
SECURE_HSTS_PRELOAD = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_SAMESITE = "Lax"
X_FRAME_OPTIONS = "DENY"

# Single sign-on by OpenID Connect; without an issuer there is none.
OIDC_ISSUER = env_str("OIDC_ISSUER", "")
OIDC_CLIENT_ID = env_str("OIDC_CLIENT_ID", "")
OIDC_CLIENT_SECRET = env_str("OIDC_CLIENT_SECRET", "")
OIDC_NAME = env_str("OIDC_NAME", "single sign-on")
if OIDC_ISSUER and not (OIDC_CLIENT_ID and OIDC_CLIENT_SECRET):
    raise ImproperlyConfigured("OIDC_ISSUER needs OIDC_CLIENT_ID and OIDC_CLIENT_SECRET")
if OIDC_ISSUER and HTTPS and not OIDC_ISSUER.startswith("https://"):
    raise ImproperlyConfigured("OIDC_ISSUER must be an https:// address")

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
    },
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["review.api.v1.auth.TokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["review.api.v1.auth.HasScope"],
    # Calls read their bodies themselves, bounded and strictly typed: api/v1/body.py.
    "DEFAULT_PARSER_CLASSES": [],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    # A file's format is the call's own business, not the framework's.
    "URL_FORMAT_OVERRIDE": None,
    "EXCEPTION_HANDLER": "review.api.v1.errors.exception_handler",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Assay",
    "VERSION": "1",
    # The structs' schemas are JSON Schema 2020-12.
    "OAS_VERSION": "3.1.1",
    "DESCRIPTION": "Human audit for GRPO rewards: rollouts in, labels and reward tables out.",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1/",
    "AUTHENTICATION_WHITELIST": ["review.api.v1.auth.TokenAuthentication"],
    "POSTPROCESSING_HOOKS": ["review.api.v1.schema.add_components"],
}

CELERY_BROKER_URL = env_str("CELERY_BROKER_URL", paths.broker_url())
CELERY_TASK_IGNORE_RESULT = True
# A killed worker's task comes back: acknowledged late, redelivered soon. Every task is safe to run
# twice and shorter than the visibility timeout (long work is chunked).
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 600,
    "unacked_restore_interval": 3,
    "unacked_restore_throttle": 1,
}
CELERY_TASK_TIME_LIMIT = 540
CELERY_BEAT_SCHEDULE = {
    "sweep": {"task": "review.flows.tasks.sweep_task", "schedule": schedule(30)},
}

# The largest batch of rollouts, measured after decompression; also Django's bound on any body.
MAX_BATCH_BYTES = env_int("MAX_BATCH_BYTES", 32 * 1024 * 1024)
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024

# Hosts ("name" or "name:port") that judges may be asked at; a lead names no other address.
JUDGE_API_KEY = env_str("ASSAY_JUDGE_API_KEY", "")
JUDGE_HOSTS = [host.lower() for host in env_list("ASSAY_JUDGE_HOSTS")]

# Files of rollouts that leads upload lie here until they are imported: web and worker share it.
UPLOADS_DIR = env_str("UPLOADS_DIR", str(paths.home() / "uploads"))
MAX_UPLOAD_BYTES = env_int("MAX_UPLOAD_BYTES", 4 * 1024**3)

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    # A refusal is an answer, and is counted where it matters; a waiting trainer asks every second.
    "loggers": {"django.request": {"level": "ERROR"}},
    "root": {"handlers": ["console"], "level": env_str("LOG_LEVEL", "WARNING")},
}
