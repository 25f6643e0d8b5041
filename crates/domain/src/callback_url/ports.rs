//! U7: which scheme and port a callback may use.

use super::UrlPolicy;

/// From here up a port belongs to nobody; below, only those of the web are open.
const FIRST_UNPRIVILEGED: u16 = 1_024;

/// The ports from 1024 up that browsers block, since what listens there can be spoken to in HTTP's bytes (WHATWG
/// Fetch, "bad port").
const BLOCKED_BY_BROWSERS: [u16; 19] = [
    1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679,
    6697, 10080,
];

pub(super) fn judge(https: bool, port: u16, policy: &UrlPolicy) -> Result<(), &'static str> {
    if !https && !policy.allow_http {
        return Err("only https is allowed here (delivery.allow_http)");
    }
    let usual = port == 443 || (port == 80 && !https);
    let free = port >= FIRST_UNPRIVILEGED && !BLOCKED_BY_BROWSERS.contains(&port);
    if usual || free || policy.allow_ports.contains(&port) {
        Ok(())
    } else {
        Err("this port is not allowed here (delivery.allow_ports)")
    }
}
