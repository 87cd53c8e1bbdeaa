"""Which parts of a service's URL are private. From the URL templates of Apprise 2.3, which a test compares.

Apprise itself is imported in one place only, and never to read a file.
"""

from __future__ import annotations

# For a URL without user, with a user, with a user and a password: u the user, h the host, P the path. A password always
# is private.
_PRIVATE = {
    "//h": "sfr",
    "//hP": "reddit",
    "//u": "burstsms exotel kudosity nexmo parsep parseps sinch twilio vonage",
    "/P/": "mailgun sendpulse smtp2go sparkpost zulip",
    "/P/P": "notica noticas",
    "/h/": "atalk bluesky bsky freemobile splunk victorops",
    "/u/": (
        "d7sms dot eight00com evolution evolutions flowtriq flowtriqs github httpsms infobip onebot onebots "
        "opsimate opsimates pinglet pinglets smsmanager smsmgr telnyx xmatters"
    ),
    "/u/u": "humhub humhubs",
    "/uh/": "msg91 pagerduty pover threema",
    "/uh/h": "whatsapp",
    "/uh/uh": "onesignal",
    "/uhP/hP": "ringc",
    "P//": "acs azure goalert goalerts gotify gotifys incidentio nctalk nctalks o365 ses workflow workflows",
    "P//P": "bark barks pjet pjets",
    "P/P/": "fluxer fluxers mmost mmosts ryver",
    "P/P/P": "apprise apprises hassio hassios notifico notificos synology synologys",
    "h//": (
        "bale brevo chanify feishu firehydrant groundmail groupme ifttt ilert instagram join kook lark "
        "lauther lfg line mailersend matrix matrixs msgbird nostr notifiarr notifyre pagertree pbul postmark "
        "prowl psafer psafers push pushme pushplus pushward pushy qq resend revolt schan sendgrid seven "
        "signalgrid signl4 smstunnel spike spugpush squadcast stackfield strmlabs tgram twist vapid viber "
        "voipms webex wecom wecombot whapi wpush wxpusher wxteams youlmk zalo"
    ),
    "h/h/": "clickatell cliq cm flock jira kavenegar opsgenie pingram slack zcliq zohocliq",
    "h/u/": "betterstack trigv trigvs",
    "h/uh/": "dingtalk simplepush spush",
    "hP//": "gchat kumulos notifyapp octopush pushed tweet twitter x zoom",
    "hP/hP/": "discord guilded",
    "hP/uhP/": "awswhatsapp kakao kakaotalk sns",
}
_BY_SCHEME = {scheme: parts.split("/") for parts, schemes in _PRIVATE.items() for scheme in schemes.split()}


def private_parts(scheme: str, *, user: bool, password: bool) -> str:
    """The private parts of a URL, besides its password: some of u, h and P. Nothing is known of other schemes."""
    return _BY_SCHEME.get(scheme, ["", "", ""])[2 if password else 1 if user else 0]
