//! Every problem there is: its slug, status, title, and what its page says. `type` is `/problems/{slug}`.

/// One kind of problem.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) slug: &'static str,
    /// `None`: it is never an answer of ours, but the `error` of a job.
    pub(crate) status: Option<u16>,
    /// Never varies.
    pub(crate) title: &'static str,
    /// What it means, for the page.
    pub(crate) text: &'static str,
    /// What to do now, for the page.
    pub(crate) remedy: &'static str,
}

impl Kind {
    /// The headers that an answer of this kind bears beside those of every answer.
    pub(crate) fn headers(&self) -> &'static [&'static str] {
        match self.status {
            Some(401) => &["WWW-Authenticate"],
            Some(405) => &["Allow"],
            Some(429) => &["Retry-After", "RateLimit", "RateLimit-Policy"],
            Some(503) => &["Retry-After"],
            _ => &[],
        }
    }
}

macro_rules! answers {
    ($($name:ident = $status:literal $slug:literal, $title:literal, $text:literal, $remedy:literal;)*) => {
        $(pub(crate) static $name: Kind =
            Kind { slug: $slug, status: Some($status), title: $title, text: $text, remedy: $remedy };)*
        /// What an answer can bear.
        pub(crate) static ANSWERS: &[&Kind] = &[$(&$name),*];
    };
}

answers! {
    BAD_REQUEST = 400 "bad-request", "The request is malformed",
        "Something about the request itself, not its JSON, cannot be read: its first line, a header, or how long its body \
         is. Nothing was recorded.",
        "The detail says what. A client library does not send such a request; look for what assembles it by hand, or for \
         a proxy that changes it on its way.";
    MALFORMED_JSON = 400 "malformed-json", "The body is not one JSON value",
        "A body is exactly one JSON value in UTF-8, with no key twice in one object, nothing after it, and at most 128 \
         levels deep. Nothing was recorded.",
        "The detail says where it stops being one. Let a JSON library write the body, and send its bytes unchanged.";
    IDEMPOTENCY_KEY_INVALID = 400 "idempotency-key-invalid", "The Idempotency-Key is invalid",
        "The key cannot be used: it is empty, too long, given twice, or has other than visible ASCII characters. Nothing \
         was recorded.",
        "Send one Idempotency-Key of 1 to 255 visible ASCII characters, in double quotes or without them; a UUID is fine.";
    UNAUTHORIZED = 401 "unauthorized", "The API key is missing or wrong",
        "The request bears no key that this server knows. A signed link to a result answers the same when its signature \
         is wrong or its time is over.",
        "Send the key as “Authorization: Bearer rbk_…”, never in the URL. If you have none, ask who runs this server.";
    FORBIDDEN = 403 "forbidden", "The key's role may not do this",
        "The key is good, but its role does not include this call.",
        "Use a key of a role that does, or ask an admin of your tenant for one.";
    NOT_FOUND = 404 "not-found", "There is no such thing",
        "No object has this id, or it belongs to somebody else, or this server has no such call.",
        "Look at the id and the path. What can be called is listed at /docs.";
    METHOD_NOT_ALLOWED = 405 "method-not-allowed", "The method is not allowed here",
        "This URL exists, but not with this method.",
        "The Allow header lists its methods.";
    REQUEST_TIMEOUT = 408 "request-timeout", "The request did not arrive in time",
        "The head of a request has to arrive within 10 seconds, and its body within 30 seconds of the head. Nothing was \
         recorded.",
        "Repeat it. If it happens again, send less at once or over a faster line.";
    JOB_FINISHED = 409 "job-finished", "The job has already ended",
        "It ended before it could be canceled. What it ended with stands.",
        "Nothing: get the job to see how it ended.";
    JOB_NOT_FINISHED = 409 "job-not-finished", "The job has not ended yet",
        "Only a job that has ended can be run again.",
        "Wait until it has ended, or cancel it first.";
    JOB_NOT_SUCCEEDED = 409 "job-not-succeeded", "The job has no result",
        "It failed or was canceled, so there will never be one. “error” says why it failed.",
        "Mend what “error” says, and run the job again (POST …/rerun).";
    LEASE_LOST = 409 "lease-lost", "The lease is over",
        "The job went on without this worker: the lease ran out, was used, or was given back. Nothing was changed.",
        "Stop working on this job and lease another. Send heartbeats more often than the lease is long.";
    RESEND_IN_FLIGHT = 409 "resend-in-flight", "An attempt is under way",
        "A request for this delivery is out right now.",
        "Wait until it has ended (get the delivery), then resend.";
    TENANT_IN_USE = 409 "tenant-in-use", "The tenant is in use",
        "A tenant is deleted when all its jobs and deliveries have ended. The tenant “default” stays.",
        "Revoke its keys so that no new jobs come, and cancel what is left or wait; then delete it.";
    DELIVERY_FINISHED = 409 "delivery-finished", "The delivery has already ended",
        "Only a delivery that is pending can be canceled. What it ended with stands.",
        "Nothing: get the delivery to see how it ended.";
    PRUNED = 410 "pruned", "The job's data has been deleted",
        "Its retention is over, or somebody erased it. What is left is id, task, status and when it ended.",
        "Nothing brings it back. Submit a new job if you need the work again.";
    PAYLOAD_TOO_LARGE = 413 "payload-too-large", "The body is too large",
        "The body is over this server's limit, which the detail names. Nothing was recorded.",
        "Send less, or a reference to the data instead of the data. The operator sets the limit (server.max_body).";
    URI_TOO_LONG = 414 "uri-too-long", "The URL is too long",
        "A URL may have 8 KiB.",
        "Send less in the query.";
    UNSUPPORTED_MEDIA_TYPE = 415 "unsupported-media-type", "The body is of the wrong type",
        "Bodies are JSON in UTF-8, as they are: no other type, and no Content-Encoding.",
        "Send “Content-Type: application/json” and an uncompressed body.";
    VALIDATION_FAILED = 422 "validation-failed", "The request has invalid fields",
        "Each entry of “errors” points to one field or query parameter and says what is wrong with it. Unknown ones are \
         errors, too, so that a misspelt one is not silently ignored. Nothing was recorded.",
        "Mend what “errors” lists and send it again; the same Idempotency-Key may be used.";
    UNKNOWN_TASK = 422 "unknown-task", "There is no such task",
        "The operator configures tasks in [tasks.NAME]; this name is none of them. Names are compared exactly.",
        "Use one of the names that are configured.";
    INPUT_INVALID = 422 "input-invalid", "The input does not fit the task's schema",
        "The task has a JSON Schema (input_schema), and the input breaks it. Each entry of “errors” points to the place.",
        "Send an input that fits.";
    CALLBACK_URL_INVALID = 422 "callback-url-invalid", "The callback URL is invalid",
        "A callback URL is https://, a full host name or an address, and a path; no credentials, no fragment, and \
         nothing that two readers could read in two ways.",
        "Write the URL out in full, as a browser shows it after loading the page. Other scripts only as punycode.";
    CALLBACK_URL_FORBIDDEN = 422 "callback-url-forbidden", "The callback URL's scheme or port is not allowed",
        "By default only https, on port 443 or from 1024 up.",
        "Use another port, or ask the operator to allow it (delivery.allow_http, delivery.allow_ports).";
    CALLBACK_ADDRESS_BLOCKED = 422 "callback-address-blocked", "The callback's address is not allowed",
        "It is private, local or reserved.",
        "Use a public address. For receivers inside their own network the operator can open ranges and names \
         (delivery.allow_cidrs, delivery.allow_hosts).";
    HEADER_FORBIDDEN = 422 "header-forbidden", "A callback header is not allowed",
        "At most 20 headers and 4 KiB; no header that frames the message, is ours, or proves a local caller.",
        "Leave out the header that “errors” points to, or give it another name.";
    IDEMPOTENCY_KEY_REUSED = 422 "idempotency-key-reused", "The Idempotency-Key was used for another request",
        "The same key came before with another body, path or content type. This request was not carried out.",
        "Make a new key for every new request; use the same one only to repeat a request byte for byte.";
    RATE_LIMITED = 429 "rate-limited", "Too many requests",
        "More was asked for than the operator allows. Nothing was recorded.",
        "Wait as long as Retry-After says, then repeat the request.";
    HEADERS_TOO_LARGE = 431 "headers-too-large", "The request's head is too large",
        "All header fields together may have 32 KiB, and there may be 256 of them.",
        "Send fewer or shorter headers; look for cookies that the client adds by itself.";
    INTERNAL = 500 "internal", "Something is wrong on our side",
        "It is not the request's fault.",
        "Repeat it once. If it happens again, tell who runs this server: the request_id finds it in the log.";
    OVERLOADED = 503 "overloaded", "Too much at once",
        "More is being written than the storage takes right now. Nothing was recorded.",
        "Repeat the request after Retry-After.";
    STORAGE_UNAVAILABLE = 503 "storage-unavailable", "Storage cannot be reached",
        "The database does not answer or refuses. If this answers a submission, its commit may or may not have happened.",
        "Repeat the request with the same Idempotency-Key after Retry-After: there will be one job.";
}

/// What only a job's `error` bears.
pub(crate) static OF_JOBS: &[&Kind] = &[
    &Kind {
        slug: "expired",
        status: None,
        title: "The job expired",
        text: "It was not started before its expires_at. A job that is running is never stopped by it.",
        remedy: "Submit it again with a later expires_at, or none; if it happens often, give the task more concurrency.",
    },
    &Kind {
        slug: "lost",
        status: None,
        title: "The work was lost",
        text: "In each of its attempts the node that ran it died or lost its lease. Starts that were lost count, so \
               that work which kills its node ends.",
        remedy: "Look at the logs of the nodes: something ends them, perhaps this work. Then run the job again.",
    },
    &Kind {
        slug: "timeout",
        status: None,
        title: "The work took too long",
        text: "Every attempt took longer than the job's timeout.",
        remedy: "Raise the task's timeout, or make the work shorter; then run the job again.",
    },
    &Kind {
        slug: "result-too-large",
        status: None,
        title: "The result is too large",
        text: "The work answered with more than its task's max_result. It is not tried again.",
        remedy: "Raise the task's max_result, or let the work answer with a reference to its result.",
    },
    &Kind {
        slug: "task-failed",
        status: None,
        title: "The work failed",
        text: "A task of kind “fail” did what it is for.",
        remedy: "Nothing: this task is for trying out how failures look.",
    },
    &Kind {
        slug: "command-failed",
        status: None,
        title: "The command failed",
        text: "The task's command exited with a status other than 0, or a signal ended it. Status 75 and signals were \
               tried again as often as the job allows. “log” has the end of what it wrote to stderr.",
        remedy: "Look at “log” and at the program, then run the job again.",
    },
    &Kind {
        slug: "command-not-started",
        status: None,
        title: "The command could not be started",
        text: "The operating system refused a process in every attempt, or what an earlier attempt had left running \
               could not be ended. The detail says which.",
        remedy: "Mend what the detail says (the program's path, its rights, the process limit), then run the job again.",
    },
    &Kind {
        slug: "upstream-failed",
        status: None,
        title: "The upstream failed",
        text: "The task's upstream answered with an error status, or with a redirect, which is not followed. “status” \
               says which. 408, 425, 429 and 5xx were tried again as often as the job allows.",
        remedy: "Look at the upstream's log for the job's id, then run the job again.",
    },
    &Kind {
        slug: "upstream-unreachable",
        status: None,
        title: "The upstream could not be reached",
        text: "No answer came from the task's upstream in any attempt. The detail says how the last one failed.",
        remedy: "See that the upstream runs and that the task's url is right, then run the job again.",
    },
    &Kind {
        slug: "upstream-location-forbidden",
        status: None,
        title: "The upstream sent the work elsewhere",
        text: "It answered 202 with a Location of another origin, which is not followed.",
        remedy: "Let the upstream answer with a Location of its own origin.",
    },
    &Kind {
        slug: "upstream-location-missing",
        status: None,
        title: "The upstream took the work without saying where it goes on",
        text: "It answered 202 without a Location to ask for the result.",
        remedy: "Let the upstream send a Location with its 202, or answer when the work is done.",
    },
];

/// The kind with this slug.
pub(crate) fn find(slug: &str) -> Option<&'static Kind> {
    ANSWERS.iter().chain(OF_JOBS).copied().find(|kind| kind.slug == slug)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the contract; `request-timeout` and `delivery-finished` are ours.
    const CONTRACT: &[(u16, &[&str])] = &[
        (400, &["malformed-json", "bad-request", "idempotency-key-invalid"]),
        (401, &["unauthorized"]),
        (403, &["forbidden"]),
        (404, &["not-found"]),
        (405, &["method-not-allowed"]),
        (408, &["request-timeout"]),
        (409, &["job-finished", "job-not-finished", "job-not-succeeded", "lease-lost", "resend-in-flight"]),
        // Ours: the contract says nothing of deleting a tenant that is at work.
        (409, &["tenant-in-use"]),
        (409, &["delivery-finished"]),
        (410, &["pruned"]),
        (413, &["payload-too-large"]),
        (414, &["uri-too-long"]),
        (415, &["unsupported-media-type"]),
        (431, &["headers-too-large"]),
        (
            422,
            &[
                "validation-failed",
                "unknown-task",
                "input-invalid",
                "callback-url-invalid",
                "callback-url-forbidden",
                "callback-address-blocked",
                "header-forbidden",
                "idempotency-key-reused",
            ],
        ),
        (429, &["rate-limited"]),
        (500, &["internal"]),
        (503, &["overloaded", "storage-unavailable"]),
    ];

    #[test]
    fn holds_what_the_contract_lists_and_nothing_else() {
        let mut expected: Vec<_> = CONTRACT
            .iter()
            .flat_map(|(status, slugs)| slugs.iter().map(|slug| (*slug, Some(*status))))
            .collect();
        let mut there: Vec<_> = ANSWERS.iter().map(|kind| (kind.slug, kind.status)).collect();
        expected.sort();
        there.sort();
        assert_eq!(there, expected);
        assert_eq!(find("pruned"), Some(&PRUNED));
        assert_eq!(find("nope"), None);
    }

    #[test]
    fn every_slug_is_there_once() {
        let mut slugs: Vec<_> = ANSWERS.iter().chain(OF_JOBS).map(|kind| kind.slug).collect();
        slugs.sort();
        let all = slugs.len();
        slugs.dedup();
        assert_eq!(slugs.len(), all);
    }
}
