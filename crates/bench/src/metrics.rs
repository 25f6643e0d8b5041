//! What a service says of itself at `/metrics`, and plain GETs of it.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::Outcome;

/// The status and body of a GET. HTTP/1.0: the answer ends with the connection, unchunked.
pub(crate) fn get(address: SocketAddr, path: &str) -> Outcome<(u16, String)> {
    let most = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&address, most)?;
    stream.set_read_timeout(Some(most))?;
    write!(stream, "GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("an answer without an end of its head")?;
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or("an answer without a status")?;
    Ok((status, body.to_owned()))
}

/// Counters by name, at one moment.
#[derive(Clone, Default)]
pub(crate) struct Metrics(String);

impl Metrics {
    /// As they are now; empty where the service shows none.
    pub(crate) fn of(address: SocketAddr) -> Self {
        Self(
            get(address, "/metrics")
                .ok()
                .filter(|(status, _)| *status == 200)
                .map(|(_, text)| text)
                .unwrap_or_default(),
        )
    }

    /// The sum of all series of the first of these names that is there.
    pub(crate) fn sum(&self, names: &[&str]) -> Option<f64> {
        names.iter().find_map(|name| {
            let series = self.0.lines().filter_map(|line| {
                let rest = line.strip_prefix(name)?;
                let value = match rest.strip_prefix('{') {
                    Some(labelled) => labelled.rsplit_once('}')?.1,
                    None => rest.strip_prefix(' ')?,
                };
                value.split_whitespace().next()?.parse::<f64>().ok()
            });
            series.fold(None, |sum: Option<f64>, value| Some(sum.unwrap_or(0.0) + value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_the_series_of_a_name() {
        let text = "# TYPE a counter\na_total{x=\"1\",y=\"} \"} 2\na_total{x=\"2\"} 3\nab_total 9\nb_total 4 1700000000\n";
        let metrics = Metrics(text.into());
        for (names, expected) in
            [(&["a_total"][..], Some(5.0)), (&["none", "b_total"], Some(4.0)), (&["a"], None)]
        {
            assert_eq!(metrics.sum(names), expected, "{names:?}");
        }
    }
}
