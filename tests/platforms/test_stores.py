"""Components and their store, a real MinIO behind real TLS: what a component takes from where, and that wrong credentials show."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from tests.platforms.sandbox import Sandbox

# One network of its own: a store in plain text and, by Amazon's name for the region, behind TLS. The account's authority is that of the certificate.
STORE = """
export PATH=/lab:$PATH
deis=/var/run/secrets/deis account=/var/run/secrets/kubernetes.io/serviceaccount
mkdir -p $deis/objectstore/creds $deis/registry $account /run /tmp
rm -rf /run/objectstore* /tmp/objectstore* /tmp/store $deis/registry/creds; ln -s $deis/objectstore/creds $deis/registry/creds
secret() { printf %s "$2" > $deis/objectstore/creds/$1; }
secret accesskey "$KEY"; secret secretkey "$SECRET"; secret region eu-west-1
for part in builder registry database; do secret $part-bucket our-$part; done
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=lab -addext subjectAltName=DNS:s3.eu-west-1.amazonaws.com \\
  -keyout /tmp/tls.key -out $account/ca.crt 2> /dev/null
echo 127.0.0.1 localhost s3.eu-west-1.amazonaws.com > /etc/hosts
cat > /tmp/tls.conf <<END
pid /tmp/tls.pid; events {} http { access_log off; client_max_body_size 0; server {
  listen 443 ssl; ssl_certificate $account/ca.crt; ssl_certificate_key /tmp/tls.key;
  location / { proxy_pass http://127.0.0.1:9000; proxy_set_header Host \\$http_host; } } }
END
MINIO_ROOT_USER=$KEY MINIO_ROOT_PASSWORD=$SECRET MINIO_REGION=$REGION GOMEMLIMIT=96MiB minio server --quiet /tmp/store --address 127.0.0.1:9000 &
nginx -c /tmp/tls.conf
export DEIS_MINIO_SERVICE_HOST=127.0.0.1 DEIS_MINIO_SERVICE_PORT=9000
ask() { curl -s -o /dev/null -w '%{http_code} ' -m 5 "$@"; }
becomes() {
  for attempt in $(seq 300); do [ "$(ask "$2")" != "$1 " ] || { printf "$1 "; return; }; sleep 0.05; done
  echo "never $1: $2"; exit 1
}
becomes 200 http://127.0.0.1:9000/minio/health/live
"""


def told(image: Sandbox, script: str, mode: str, **env: str) -> list[str]:
    """The words that a script prints after the store answers, with a component in this mode."""
    more = {"KEY": f"k{secrets.token_hex(6)}", "SECRET": secrets.token_hex(16), "MODE": mode, "REGION": {"minio": "us-east-1", "s3": "eu-west-1"}[mode]}
    text = image.run("bash", "-eu", "-c", STORE + script, env={**more, **env}, own_network=True)
    return text.split()[1:]


@pytest.mark.parametrize("mode", ["minio", "s3"])
def test_the_builder_is_ready_while_the_credentials_that_it_started_with_list_its_bucket(image: Sandbox, mode: str) -> None:
    script = """
    export BUILDER_STORAGE=$MODE
    builder-deis & started=$!
    becomes 200 http://127.0.0.1:8092/readiness
    secret secretkey wrong; ask http://127.0.0.1:8092/healthz
    kill $started; wait $started || true; rm -r /run/objectstore
    builder-deis & started=$!
    becomes 503 http://127.0.0.1:8092/readiness
    secret secretkey $SECRET; ask http://127.0.0.1:8092/healthz
    kill $started
    """
    assert told(image, script, mode) == ["200", "200", "503", "503"]
    bucket = {"minio": "git", "s3": "our-builder"}[mode]
    assert Path(image.folder, "tmp/store", bucket).is_dir()


@pytest.mark.parametrize("mode", ["minio", "s3"])
def test_the_registry_writes_to_its_bucket_and_an_app_takes_its_slug_from_the_builders(image: Sandbox, mode: str) -> None:
    script = """
    REGISTRY_STORAGE=$MODE registry & started=$!
    becomes 200 http://127.0.0.1:5000/v2/
    echo blob > /tmp/blob; digest=sha256:$(sha256sum < /tmp/blob | cut -c1-64)
    where=$(curl -si -X POST http://127.0.0.1:5000/v2/a/blobs/uploads/ | tr -d '\\r' | sed -n 's/^Location: //p')
    ask -X PUT --data-binary @/tmp/blob -H 'Content-Type: application/octet-stream' "$where&digest=$digest"
    kill $started
    . object-store
    export BUILDER_STORAGE=$MODE SLUG_URL=home/a:git-1/push/slug.tgz PORT=5001
    object_store $MODE $deis/objectstore/creds builder git
    tar -czf /tmp/slug.tgz -C /tmp blob
    python3 /lab/s3.py make-bucket $S3_BUCKET
    python3 /lab/s3.py put "$S3_BUCKET/$SLUG_URL" < /tmp/slug.tgz
    slugrunner start web & started=$!
    becomes 200 http://127.0.0.1:5001/
    [ "$(curl -s http://127.0.0.1:5001/)" = "$(sha256sum < /tmp/slug.tgz | cut -c1-64)" ] && echo same
    kill $started
    """
    assert told(image, script, mode) == ["200", "201", "200", "same"]
    bucket = {"minio": "registry", "s3": "our-registry"}[mode]
    assert list(Path(image.folder, "tmp/store", bucket).rglob("data"))


def test_a_database_starts_empty_with_an_empty_bucket_and_comes_back_out_of_a_full_one(image: Sandbox) -> None:
    script = """
    export DATABASE_STORAGE=s3 creds=$deis/database/creds
    mkdir -p $creds; printf owner > $creds/user; printf secret > $creds/password
    started() { database-deis > /dev/null 2>&1 & until pg_isready -q -h 127.0.0.1; do sleep 0.05; kill -0 $!; done; }
    ended() { kill -INT $!; wait $! || true; rm -rf /var/lib/postgresql/lab; }
    tables() { psql -qXAt -h /var/run/postgresql -U owner -c "SELECT count(*) FROM pg_class WHERE relname = 'kept'"; }
    rm -rf /var/lib/postgresql/lab
    started; tables; psql -qX -h /var/run/postgresql -U owner -c 'CREATE TABLE kept (n int)'; do_backup; ended
    started; tables; ended
    """
    assert told(image, script, "s3") == ["0", "1"]


def test_components_of_drycc_take_a_store_outside_behind_tls(image: Sandbox) -> None:
    script = """
    export DRYCC_STORAGE_ENDPOINT=https://s3.eu-west-1.amazonaws.com DRYCC_STORAGE_BUCKET=outside DRYCC_STORAGE_ACCESSKEY=$KEY DRYCC_STORAGE_SECRETKEY=$SECRET
    export DRYCC_REGISTRY_USERNAME=u DRYCC_REGISTRY_PASSWORD=p REGISTRY_HTTP_SECRET=x
    init-stack start-registry & first=$!
    init-stack run --service metastore & second=$!
    becomes 200 http://u:p@127.0.0.1:5000/v2/
    becomes 200 http://127.0.0.1:7280/health/readyz
    ask http://127.0.0.1:7280/health/livez
    kill $second; wait $second || true
    DRYCC_STORAGE_SECRETKEY=wrong init-stack builder & second=$!
    becomes 503 http://127.0.0.1:8092/readiness
    kill $first $second
    """
    assert told(image, script, "minio") == ["200", "200", "200", "503"]
