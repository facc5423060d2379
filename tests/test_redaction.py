"""Secrets: gone from what is kept, and everything else as it was."""

from __future__ import annotations

import yaml

from project.redaction import hidden_options, hide_in_arguments, hide_in_yaml, hide_secrets

SECRET = "hunter2"
WITH_SECRETS = {
    "trainer": {
        "logger": [
            {"init_args": {"tracking_uri": f"http://user:{SECRET}@host:5000/path", "experiment_name": "digits"}},
            {"dict_kwargs": {"api_key": SECRET, "WANDB_API_KEY": SECRET, "token": SECRET, "password": 1234}},
        ]
    },
    "data": {
        "root": f"s3://bucket/key?X-Amz-Signature={SECRET}&size=3",
        "url": f"https://{SECRET}{'0' * 20}@host/a?token={SECRET}#part",
        "credentials": {"user": SECRET, "more": [SECRET, None]},
        "db": f"mysql+pymysql://u:p@{SECRET}@host/db",
        "headers": {"Authorization": f"Bearer {SECRET}"},
    },
}
HIDDEN = {
    "trainer": {
        "logger": [
            {"init_args": {"tracking_uri": "http://user:***@host:5000/path", "experiment_name": "digits"}},
            {"dict_kwargs": {"api_key": "***", "WANDB_API_KEY": "***", "token": "***", "password": "***"}},
        ]
    },
    "data": {
        "root": "s3://bucket/key?X-Amz-Signature=***&size=3",
        "url": "https://***@host/a?token=***#part",
        "credentials": {"user": "***", "more": ["***", None]},
        "db": "mysql+pymysql://u:***@host/db",
        "headers": {"Authorization": "***"},
    },
}
HARMLESS = {
    "end_token": "<end>", "tokens": ["a"], "max_tokens": 3, "tokenizer": "ptb", "key": "image", "secretary": "b",
    "token": None, "use_password": False, "url": "http://user@host:80/a@b?size=3", "email": "a:b@c.d", "lr": 0.1,
    "glob": "data/***/x", "windows": "C:\\a", "sigma": 3, "keys": {"a": "b"}, "time": "12:30@noon",
}  # fmt: skip


def test_hide_secrets_hides_them_and_nothing_else():
    before = yaml.safe_dump(WITH_SECRETS)
    assert hide_secrets(WITH_SECRETS) == HIDDEN
    assert yaml.safe_dump(WITH_SECRETS) == before
    assert hide_secrets(HIDDEN) == HIDDEN
    assert hide_secrets(HARMLESS) == HARMLESS


def test_hide_in_yaml_leaves_a_text_without_secrets_alone():
    assert yaml.safe_load(hide_in_yaml(yaml.safe_dump(WITH_SECRETS))) == HIDDEN
    text = "# a comment\nb:   1\na: [x,  y]\n"
    assert hide_in_yaml(text) == text


def test_hide_in_arguments_of_every_form():
    arguments = [
        "fit", "--config", "a.yaml", "--data.root=/x", "--trainer.logger.tracking_uri", f"http://u:{SECRET}@h",
        f"--a.api_key={SECRET}", "--a.password", SECRET, "--model.end_token", "<end>", "--seed", "-1",
        "--trainer.logger", f"{{class_path: X, init_args: {{token: {SECRET}, lr: 0.1}}}}", f'--b=[{{"api_key": "{SECRET}"}}]',
        "--data.names=[a,  b]",
    ]  # fmt: skip
    assert hide_in_arguments(arguments) == [
        "fit", "--config", "a.yaml", "--data.root=/x", "--trainer.logger.tracking_uri", "http://u:***@h",
        "--a.api_key=***", "--a.password", "***", "--model.end_token", "<end>", "--seed", "-1",
        "--trainer.logger", '{"class_path": "X", "init_args": {"token": "***", "lr": 0.1}}', '--b=[{"api_key": "***"}]',
        "--data.names=[a,  b]",
    ]  # fmt: skip


def test_hidden_options_names_those_that_have_to_be_given_again():
    assert list(hidden_options(HIDDEN)) == [
        "trainer.logger.init_args.tracking_uri", "trainer.logger.dict_kwargs.api_key",
        "trainer.logger.dict_kwargs.WANDB_API_KEY", "trainer.logger.dict_kwargs.token",
        "trainer.logger.dict_kwargs.password", "data.root", "data.url", "data.credentials.user", "data.credentials.more",
        "data.db", "data.headers.Authorization",
    ]  # fmt: skip
    assert list(hidden_options(WITH_SECRETS)) == []
    assert list(hidden_options(HARMLESS)) == []
