//! The way to the API server: where it is, and who we are to it.

use std::time::Duration;

use kube::config::KubeConfigOptions;
use kube::{Client, Config};

use super::source::StartError;

/// Where connections come from. They are opened anew after they were refused: the server's
/// certificates and our token may be others by then.
#[derive(Clone, Debug)]
pub(super) enum Access {
    /// By `KUBECONFIG` if that is set, else by what every Pod has.
    Environment,
    /// As it is given.
    #[cfg(test)]
    Given(Box<Config>),
}

impl Access {
    /// A client with connections of its own. It reads a Pod's token again when that is a minute old.
    ///
    /// # Errors
    /// When it is not known where the server is, or who we are.
    pub(super) async fn open(&self) -> Result<Client, StartError> {
        let mut config = match self {
            Self::Environment => environment().await?,
            #[cfg(test)]
            Self::Given(config) => (**config).clone(),
        };
        config.connect_timeout = Some(CONNECT);
        // We know better when to ask again.
        config.default_retry = false;
        Client::try_from(config).map_err(|error| StartError::Unknown(error.to_string()))
    }
}

async fn environment() -> Result<Config, StartError> {
    let unknown = |error: &dyn std::error::Error| StartError::Unknown(causes(error));
    if std::env::var_os("KUBECONFIG").is_some_and(|path| !path.is_empty()) {
        let config = Config::from_kubeconfig(&KubeConfigOptions::default()).await;
        return config.map_err(|error| unknown(&error));
    }
    Config::incluster().map_err(|error| unknown(&error))
}

/// An error with its causes, each once.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_told = cause.to_string();
        if !told.contains(&cause_told) {
            told = format!("{told}: {cause_told}");
        }
        next = cause.source();
    }
    told
}

/// How long a connection may take to open.
const CONNECT: Duration = Duration::from_secs(5);
