//! The one shape of the clients: reqwest's own, whether they block or not.

/// A `Client` and its `RequestBuilder` over the `Inner` and `InnerBuilder` in scope, which are reqwest's of one kind, as
/// are `Body`, `Request` and `Form`. What sends is written beside it.
macro_rules! surface {
    ($(#[$client_docs:meta])* client, $(#[$builder_docs:meta])* builder) => {
        $(#[$client_docs])*
        pub struct Client<S: Store = MemoryStore> {
            inner: Inner,
            limits: Arc<Limits<S>>,
        }

        impl<S: Store> Client<S> {
            /// Sends with `client`, and keeps to `limits`.
            #[must_use]
            pub fn new(client: Inner, limits: Limits<S>) -> Self {
                Self { inner: client, limits: Arc::new(limits) }
            }

            /// A `GET` of `url`.
            pub fn get(&self, url: impl IntoUrl) -> RequestBuilder<S> {
                self.request(Method::GET, url)
            }

            /// A `POST` to `url`.
            pub fn post(&self, url: impl IntoUrl) -> RequestBuilder<S> {
                self.request(Method::POST, url)
            }

            /// A `PUT` to `url`.
            pub fn put(&self, url: impl IntoUrl) -> RequestBuilder<S> {
                self.request(Method::PUT, url)
            }

            /// A `PATCH` of `url`.
            pub fn patch(&self, url: impl IntoUrl) -> RequestBuilder<S> {
                self.request(Method::PATCH, url)
            }

            /// A `DELETE` of `url`.
            pub fn delete(&self, url: impl IntoUrl) -> RequestBuilder<S> {
                self.request(Method::DELETE, url)
            }

            /// A `HEAD` of `url`.
            pub fn head(&self, url: impl IntoUrl) -> RequestBuilder<S> {
                self.request(Method::HEAD, url)
            }

            /// A request with `method` to `url`. One that is no URL is an error of sending or building it.
            pub fn request(&self, method: Method, url: impl IntoUrl) -> RequestBuilder<S> {
                RequestBuilder::of(self.clone(), self.inner.request(method, url))
            }

            /// The limits that are kept to.
            #[must_use]
            pub fn limits(&self) -> &Limits<S> {
                &self.limits
            }

            /// The client that sends; what is sent with it directly is not limited.
            #[must_use]
            pub fn inner(&self) -> &Inner {
                &self.inner
            }
        }

        impl<S: Store> Clone for Client<S> {
            fn clone(&self) -> Self {
                Self { inner: self.inner.clone(), limits: Arc::clone(&self.limits) }
            }
        }

        impl<S: Store> fmt::Debug for Client<S> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct("Client").field("inner", &self.inner).field("limits", &self.limits).finish()
            }
        }

        $(#[$builder_docs])*
        #[must_use = "nothing is sent before `send`"]
        pub struct RequestBuilder<S: Store = MemoryStore> {
            client: Client<S>,
            inner: InnerBuilder,
            extensions: Extensions,
        }

        impl<S: Store> RequestBuilder<S> {
            fn of(client: Client<S>, inner: InnerBuilder) -> Self {
                Self { client, inner, extensions: Extensions::new() }
            }

            /// A builder that begins with `request`.
            pub fn from_parts(client: Client<S>, request: Request) -> Self {
                let inner = InnerBuilder::from_parts(client.inner.clone(), request);
                Self::of(client, inner)
            }

            /// How long this request waits for its turn at most, instead of what the client's limits say
            /// ([`Limits::max_wait`]).
            pub fn max_wait(mut self, limit: Duration) -> Self {
                self.extensions.insert(MaxWait(limit));
                self
            }

            /// What this request costs, in units of the quota, instead of what the client's limits say
            /// ([`Limits::cost`]).
            pub fn cost(mut self, units: u64) -> Self {
                self.extensions.insert(Cost(units));
                self
            }

            /// What `change` makes of reqwest's own builder: for what this one has no method for.
            pub fn map(mut self, change: impl FnOnce(InnerBuilder) -> InnerBuilder) -> Self {
                self.inner = change(self.inner);
                self
            }

            /// Adds a header field.
            pub fn header<K, V>(self, name: K, value: V) -> Self
            where
                HeaderName: TryFrom<K>,
                <HeaderName as TryFrom<K>>::Error: Into<http::Error>,
                HeaderValue: TryFrom<V>,
                <HeaderValue as TryFrom<V>>::Error: Into<http::Error>,
            {
                self.map(|inner| inner.header(name, value))
            }

            /// Adds header fields, in the place of those of the same names.
            pub fn headers(self, headers: HeaderMap) -> Self {
                self.map(|inner| inner.headers(headers))
            }

            /// Basic authentication.
            pub fn basic_auth(self, username: impl fmt::Display, password: Option<impl fmt::Display>) -> Self {
                self.map(|inner| inner.basic_auth(username, password))
            }

            /// Authentication by a token.
            pub fn bearer_auth(self, token: impl fmt::Display) -> Self {
                self.map(|inner| inner.bearer_auth(token))
            }

            /// The body. One that is read as it is sent is sent once: where it is refused, the answer is passed on.
            pub fn body(self, body: impl Into<Body>) -> Self {
                self.map(|inner| inner.body(body))
            }

            /// How long sending it and reading the answer may take; the wait for its turn is not part of that.
            pub fn timeout(self, timeout: Duration) -> Self {
                self.map(|inner| inner.timeout(timeout))
            }

            /// The HTTP version.
            pub fn version(self, version: Version) -> Self {
                self.map(|inner| inner.version(version))
            }

            /// Adds to the URL's query. Needs the feature `query`.
            #[cfg(feature = "query")]
            pub fn query(self, query: &(impl serde::Serialize + ?Sized)) -> Self {
                self.map(|inner| inner.query(query))
            }

            /// A form as the body, in the URL's way of writing. Needs the feature `form`.
            #[cfg(feature = "form")]
            pub fn form(self, form: &(impl serde::Serialize + ?Sized)) -> Self {
                self.map(|inner| inner.form(form))
            }

            /// JSON as the body. Needs the feature `json`.
            #[cfg(feature = "json")]
            pub fn json(self, json: &(impl serde::Serialize + ?Sized)) -> Self {
                self.map(|inner| inner.json(json))
            }

            /// A form of several parts as the body, sent once. Needs the feature `multipart`.
            #[cfg(feature = "multipart")]
            pub fn multipart(self, form: Form) -> Self {
                self.map(|inner| inner.multipart(form))
            }

            /// The request alone: what it says of its wait and cost is left behind.
            ///
            /// # Errors
            /// What is wrong with it.
            pub fn build(self) -> Result<Request, reqwest::Error> {
                self.inner.build()
            }

            /// The same once more; `None` where the body is read as it is sent.
            #[must_use]
            pub fn try_clone(&self) -> Option<Self> {
                let inner = self.inner.try_clone()?;
                Some(Self { client: self.client.clone(), inner, extensions: self.extensions.clone() })
            }
        }

        impl<S: Store> fmt::Debug for RequestBuilder<S> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct("RequestBuilder").field("inner", &self.inner).finish_non_exhaustive()
            }
        }
    };
}

pub(crate) use surface;
