//! The halves of a stream, the same for every asynchronous adapter: see `adapter.rs`.

/// The halves of an adapter's `UtpStream`, in a module `split`: `halves!(UtpStream)`. The adapter gives
/// them its runtime's traits.
#[macro_export]
macro_rules! halves {
    ($Stream:ident) => {
        /// The reading direction of a borrowed stream. Made by
        #[doc = concat!("[`", stringify!($Stream), "::split`].")]
        #[derive(Debug)]
        pub struct ReadHalf<'a>(&'a $Stream);

        /// The writing direction of a borrowed stream. Made by
        #[doc = concat!("[`", stringify!($Stream), "::split`].")]
        #[derive(Debug)]
        pub struct WriteHalf<'a>(&'a $Stream);

        /// The reading direction of a stream. Made by
        #[doc = concat!("[`", stringify!($Stream), "::into_split`].")]
        /// What else the stream can do is reached through `as_ref`.
        #[derive(Debug)]
        pub struct OwnedReadHalf(::std::sync::Arc<$Stream>);

        /// The writing direction of a stream. Made by
        #[doc = concat!("[`", stringify!($Stream), "::into_split`].")]
        #[doc = concat!("Dropping it finishes this direction: [`", stringify!($Stream), "::finish`].")]
        /// What else the stream can do is reached through `as_ref`.
        #[derive(Debug)]
        pub struct OwnedWriteHalf {
            stream: ::std::sync::Arc<$Stream>,
            finish_on_drop: bool,
        }

        /// The halves that were to be reunited are not of one stream; here they are again.
        #[derive(Debug)]
        pub struct ReuniteError(pub OwnedReadHalf, pub OwnedWriteHalf);

        impl ::std::fmt::Display for ReuniteError {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str("the halves are not of one stream")
            }
        }

        impl ::std::error::Error for ReuniteError {}

        $crate::half_methods! { $Stream: ReadHalf<'_>, WriteHalf<'_>, OwnedReadHalf, OwnedWriteHalf }

        pub(crate) fn borrowed(stream: &$Stream) -> (ReadHalf<'_>, WriteHalf<'_>) {
            (ReadHalf(stream), WriteHalf(stream))
        }

        pub(crate) fn owned(stream: $Stream) -> (OwnedReadHalf, OwnedWriteHalf) {
            let stream = ::std::sync::Arc::new(stream);
            let write = OwnedWriteHalf { stream: ::std::sync::Arc::clone(&stream), finish_on_drop: true };
            (OwnedReadHalf(stream), write)
        }

        impl OwnedReadHalf {
            /// The stream that both halves came from.
            ///
            /// # Errors
            /// The halves, if they are not of one stream.
            pub fn reunite(self, mut write: OwnedWriteHalf) -> Result<$Stream, ReuniteError> {
                if !::std::sync::Arc::ptr_eq(&self.0, &write.stream) {
                    return Err(ReuniteError(self, write));
                }
                write.finish_on_drop = false;
                drop(write);
                // A split stream has two references, and both were here.
                Ok(::std::sync::Arc::into_inner(self.0).expect("no third half"))
            }
        }

        impl OwnedWriteHalf {
            #[doc = concat!("As [`", stringify!($Stream), "::write_bytes`].")]
            /// Cancel-safe: what is left in `data` was not written.
            ///
            /// # Errors
            #[doc = concat!("As [`", stringify!($Stream), "::write_bytes`].")]
            pub async fn write_bytes(&mut self, data: &mut $crate::Bytes) -> ::std::io::Result<()> {
                self.stream.handle().write_all_bytes(data).await
            }

            #[doc = concat!("As [`", stringify!($Stream), "::write_text`].")]
            /// Not cancel-safe.
            ///
            /// # Errors
            #[doc = concat!("As [`", stringify!($Stream), "::write_text`].")]
            pub async fn write_text(
                &mut self,
                text: &str,
                encoding: $crate::text::Encoding,
            ) -> ::std::io::Result<()> {
                self.stream.handle().write_text(text, encoding).await
            }

            /// The stream that both halves came from.
            ///
            /// # Errors
            /// The halves, if they are not of one stream.
            pub fn reunite(self, read: OwnedReadHalf) -> Result<$Stream, ReuniteError> {
                read.reunite(self)
            }
        }

        impl Drop for OwnedWriteHalf {
            fn drop(&mut self) {
                if self.finish_on_drop {
                    // If the connection is over already, that is all the same now.
                    let _ = self.stream.finish();
                }
            }
        }

        impl AsRef<$Stream> for $Stream {
            fn as_ref(&self) -> &$Stream {
                self
            }
        }

        impl AsRef<$Stream> for ReadHalf<'_> {
            fn as_ref(&self) -> &$Stream {
                self.0
            }
        }

        impl AsRef<$Stream> for WriteHalf<'_> {
            fn as_ref(&self) -> &$Stream {
                self.0
            }
        }

        impl AsRef<$Stream> for OwnedReadHalf {
            fn as_ref(&self) -> &$Stream {
                &self.0
            }
        }

        impl AsRef<$Stream> for OwnedWriteHalf {
            fn as_ref(&self) -> &$Stream {
                &self.stream
            }
        }
    };
}

/// What every half of an adapter's `UtpStream` has by itself, as those of TCP streams do.
#[doc(hidden)]
#[macro_export]
macro_rules! half_methods {
    ($Stream:ident: $($half:ty),*) => {$(
        impl $half {
            /// The peer.
            #[must_use]
            pub fn peer_addr(&self) -> ::std::net::SocketAddr {
                AsRef::<$Stream>::as_ref(self).peer_addr()
            }

            /// The address that the socket is bound to.
            #[must_use]
            pub fn local_addr(&self) -> ::std::net::SocketAddr {
                AsRef::<$Stream>::as_ref(self).local_addr()
            }

            /// Counters and gauges of the connection, both directions; after the end, the last ones.
            #[must_use]
            pub fn stats(&self) -> $crate::ConnectionStats {
                AsRef::<$Stream>::as_ref(self).stats()
            }
        }
    )*};
}
