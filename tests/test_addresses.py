"""What of an address may be told."""

import pytest

from emoclip.addresses import secrets_left_out, without_secrets
from emoclip.files import told


@pytest.mark.parametrize(
    ("address", "told_as"),
    [
        ("rtsp://kim:pw@cam:554/live/1?auth=x#y", "rtsp://cam:554/live/1"),
        ("HTTPS://kim:p@w?x#z@host/a.mp4", "HTTPS://host/a.mp4"),
        ("http://host/a b.mp4?token=x y", "http://host/a b.mp4"),
        ("srt://host:9000?passphrase=x", "srt://host:9000"),
        ("http://host/@me/a.mp4", "http://host/@me/a.mp4"),
        ("rtmp://kim:pw@host/live/s3cret?x=y", "rtmp://host/live/KEY"),
        ("RTMPS://host:443/app/inst/s3cret/", "RTMPS://host:443/app/inst/KEY/"),
        ("rtmp://host/s3cret", "rtmp://host/KEY"),
        ("rtmp://host:1935", "rtmp://host:1935"),
        ("ftp://kim:pw@host/a.mp4", "ftp://host/a.mp4"),
        ("what?/a#1@2.mp4", "what?/a#1@2.mp4"),
    ],
)
def test_user_password_and_query_are_left_out_of_addresses_alone(address, told_as):
    assert without_secrets(address) == told(address) == told(told_as) == told_as
    if " " not in address:
        assert secrets_left_out(f"why? '{address}' (so)") == f"why? '{told_as}' (so)"


def test_a_message_keeps_its_marks_beside_a_streams_key():
    said = secrets_left_out("rtmp://host/live/s3cret: no answer, (rtmps://host/a/s3cret)")
    assert said == "rtmp://host/live/KEY: no answer, (rtmps://host/a/KEY)"
