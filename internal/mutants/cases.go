package main

// faults are the seeded ones.
var faults = []fault{
	{
		name:  "constant context",
		rows:  "A03 A05 A45 A46",
		also:  "A08 A11 A14 A17 A18 A19 A20 A21 A22 A25 A26 A32 A40 A41 A44 A47 A64 A66 A67",
		edits: []edit{{"policy.go", "sum := sha256.Sum256(d.B)\n\treturn newSIDContext", "sum := sha256.Sum256(nil)\n\treturn newSIDContext"}},
	},
	{
		name: "context too late, in the servername callback",
		rows: "A14 A15 A16 A17 A18 A19",
		also: "A08 A20 A21 A22 A26 A41 A44 A67",
		edits: []edit{
			// What the ClientHello function says waits until libssl has decided.
			{"internal/libssl/ssl.c", "\tif (n)\n\t\tmemcpy(t->sidctx, sid, n);\n\tt->sidctx_n = n;\n",
				"\tif (t->suspended) {\n\t\tmemcpy(t->late, sid, n);\n\t\tt->late_n = n;\n\t\tt->is_late = 1;\n" +
					"\t\tSSL_set_session_id_context(t->ssl, t->sidctx, (unsigned int)t->sidctx_n);\n\t\treturn;\n\t}\n" +
					"\tif (n)\n\t\tmemcpy(t->sidctx, sid, n);\n\tt->sidctx_n = n;\n"},
			// At the end: the root package sees the header as it is.
			{"internal/libssl/ssl.h", "\tsize_t keylog_n;\n};",
				"\tsize_t keylog_n;\n\tunsigned char late[SSL_MAX_SID_CTX_LENGTH];\n\tsize_t late_n;\n\tint is_late;\n};"},
			{"internal/libssl/ctx.c", "\tconst osl_ssl *t = SSL_get_app_data(ssl);\n\n\t(void)alert, (void)arg;\n\treturn SSL_session_reused",
				"\tosl_ssl *t = SSL_get_app_data(ssl);\n\n\t(void)alert, (void)arg;\n\tif (t->is_late)\n\t\tSSL_set_session_id_context(ssl, t->late, (unsigned int)t->late_n);\n\treturn SSL_session_reused"},
		},
	},
	{
		name:  "context left to SSL_set_SSL_CTX",
		rows:  "A08 A14 A17 A18 A19 A20 A26 A44",
		also:  "A15 A16 A21 A22 A57 A67",
		after: true,
		edits: []edit{{"internal/libssl/ssl.c", "== 1 &&\n\t                  osl_ssl_name_sidctx(t, sid, (unsigned int)sid_n));", "== 1 && (sid || !sid_n));"}},
	},
	{
		name:  "no context set",
		rows:  "A07",
		edits: []edit{{"ctx.go", "case VerifyMode(facts.Verify)&VerifyPeer != 0 && (mayResume || c.psks != nil) && !c.sidCtxSet:", "case VerifyMode(facts.Verify)&VerifyPeer != 0 && (mayResume || c.psks != nil) && !c.sidCtxSet && false:"}},
	},
	{
		name:  "hosts without a context",
		rows:  "A08",
		also:  "A03 A57",
		edits: []edit{{"hosts.go", "if other != c && other.sharesSessions(c) {", "if other != c && other.sharesSessions(c) && false {"}},
	},
	{
		name:  "CAs left out",
		rows:  "A45",
		also:  "A52",
		edits: []edit{{"policy.go", "\td.Set(id.CAs)\n", ""}},
	},
	{
		name:  "verify mode left out",
		rows:  "A46",
		also:  "A52",
		edits: []edit{{"policy.go", "\td.Uint(uint64(facts.Verify))\n", ""}},
	},
	{
		name:  "names left out",
		rows:  "A17 A18",
		also:  "A08 A21 A41 A27 A52",
		edits: []edit{{"policy.go", "\td.Set(own)\n", ""}},
	},
	{
		name:  "no lengths",
		rows:  "A11",
		also:  "A64",
		edits: []edit{{"internal/wire/wire.go", "\tw.Uint(uint64(len(p)))\n\tw.B = append", "\tw.B = append"}},
	},
	{
		name: "C strings",
		rows: "A12",
		also: "A13",
		edits: []edit{
			{"ctx.go", "func (c *Ctx) SetSessionIDContext(sidCtx []byte) error {\n", "func (c *Ctx) SetSessionIDContext(sidCtx []byte) error {\n\tsidCtx, _, _ = bytes.Cut(sidCtx, []byte{0})\n"},
			{"ctx.go", "import (\n", "import (\n\t\"bytes\"\n"},
		},
	},
	{
		name:  "truncated to 16 bytes",
		rows:  "A13",
		edits: []edit{{"ctx.go", "func (c *Ctx) SetSessionIDContext(sidCtx []byte) error {\n", "func (c *Ctx) SetSessionIDContext(sidCtx []byte) error {\n\tif len(sidCtx) <= libssl.MaxSIDCtx {\n\t\tsidCtx = sidCtx[:min(16, len(sidCtx))]\n\t}\n"}},
	},
	{
		name:  "nothing bound to the seal",
		rows:  "A35",
		also:  "A34",
		edits: []edit{{"seal.go", "nil, string(info.B), len(key))", "nil, sealKeyInfo, len(key))"}},
	},
	{
		name:  "no id bound to the seal",
		rows:  "A34",
		also:  "A35",
		edits: []edit{{"seal.go", "\tinfo.Bytes(id)\n", ""}},
	},
	{
		name:  "one key seals all sessions",
		tests: "openssl.TestSealStoreKeyOfEachID",
		edits: []edit{{"seal.go", "aes.NewCipher(own)", "aes.NewCipher(key[:])"}},
	},
	{
		name: "no seal",
		rows: "A36",
		also: "A34 A35 A37",
		edits: []edit{
			{"seal.go", "aead.Seal(blob, blob[1:], session, nil)", "append([]byte{sealVersion}, session...)"},
			{"seal.go", "\tif len(blob) < 1+sealNonce ||", "\tif len(blob) > 0 && blob[0] == sealVersion {\n\t\treturn blob[1:], nil\n\t}\n\tif len(blob) < 1+sealNonce ||"},
		},
	},
	{
		name:  "end of the certificate not looked at",
		rows:  "A48",
		edits: []edit{{"internal/libssl/resumption.c", "static int64_t osl_not_after(X509 *x, int64_t now) {\n", "static int64_t osl_not_after(X509 *x, int64_t now) {\n\tif (x)\n\t\treturn now + 86400;\n"}},
	},
	{
		name:  "age of the authentication not looked at",
		rows:  "A49",
		edits: []edit{{"internal/libssl/resumption.c", "\tr->max_age = max_age;\n", "\tr->max_age = max_age ? 86400 : 0;\n"}},
	},
	{
		name:  "client cache by address",
		rows:  "A51 A52",
		also:  "A69",
		edits: []edit{{"machine.go", "\tvar who wire.Writer\n", "\tif true {\n\t\treturn peer.String()\n\t}\n\tvar who wire.Writer\n"}},
	},
	{
		name:  "setters in use",
		rows:  "A61",
		also:  "A02",
		edits: []edit{{"ctx.go", "\t\tif c.frozen {\n\t\t\treturn ErrCtxInUse", "\t\tif c.frozen && false {\n\t\t\treturn ErrCtxInUse"}},
	},
	{
		name:  "ticket data written into a cached session",
		tests: "openssl.TestCachedSessionFromManyConnections",
		tags:  "queuecheck",
		edits: []edit{{"internal/libssl/resumption.c", "&& s != t->decrypted)\n\t\treturn 1;", "&& s != t->decrypted && !s)\n\t\treturn 1;"}},
	},
	{
		name:  "capped after libssl has published it",
		tests: "isolation.TestMaxAuthAgeOfSessionsByID openssl.TestCachedSessionFromManyConnections",
		tags:  "queuecheck",
		edits: []edit{
			{"internal/libssl/store.c", "\tif (!osl_session_limit_new(ssl, s))\n\t\treturn 0;\n\tosl_session_publish(s);\n", "\tosl_session_publish(s);\n\tif (!osl_session_limit_new(ssl, s))\n\t\treturn 0;\n"},
		},
	},
	{
		name:  "a stored answer gets a new clock",
		tests: "isolation.TestUpdateTimeDoesNotHideAge",
		edits: []edit{{"internal/libssl/store.c", "\t    osl_session_ends(r, s, osl_session_authenticated(s), now) <= now) {", "\t    osl_session_ends(r, s, osl_session_authenticated(s), now) <= now && !s) {"},
			{"internal/libssl/resumption.c", "? osl_session_time(t->found)", "? osl_session_time(s)"}},
	},
	{
		name:  "a refusal sends no alert",
		tests: "openssl.TestRefusalIsHeard",
		edits: []edit{{"refusal.go", "s.out.w += s.h.P.EndWithAlert(uint8(alert), room)", "_, _ = room, alert"}},
	},
	{
		name:  "a renewed ticket counted from now",
		tests: "isolation.TestRenewedTicketUnderACap",
		edits: []edit{{"internal/libssl/resumption.c", "\tint64_t timeout = osl_sub(ends, osl_session_time(s));\n", "\tint64_t timeout = osl_sub(ends, (int64_t)time(NULL));\n"}},
	},
	{
		name:  "a failed SetServerName leaves the old one",
		tests: "malloc.TestMalloc/SSL.SetServerName",
		tags:  "malloc",
		edits: []edit{{"machine.go", "\tif s.nameErr != nil {\n\t\treturn explain(", "\tif s.nameErr != nil && false {\n\t\treturn explain("},
			{"ssl.go", "\t\ts.name = \"\"\n\t\tvar e *Error", "\t\tvar e *Error"},
			// What looks at the name once more after the handshake would see it.
			{"internal/libssl/ssl.c", "if (!osl_name_verified(t))", "if (0 && !osl_name_verified(t))"}},
	},
	{
		name:  "a token's signatures among all handshakes",
		tests: "openssl.TestSlowToken",
		edits: []edit{{"keys.go", "\tif s.ctx.slots == nil || s.phase", "\tif true || s.phase"}},
	},
	{
		name:  "the slots of the Ctx before a switch",
		tests: "openssl.TestSlowToken",
		edits: []edit{{"keys.go", "\tif s.ctx.slots == nil || s.phase", "\tif s.first.slots == nil || s.ctx.slots == nil || s.phase"}},
	},
	{
		name:  "a slot for a ClientHello that chooses another Ctx",
		tests: "openssl.TestSlowToken",
		edits: []edit{{"keys.go", "s.phase == phaseNew && (s.client || suspends)", "s.phase == phaseNew && s.client && suspends"}},
	},
	{
		name:  "nothing ends the wait for a token",
		tests: "openssl.TestSlowToken",
		edits: []edit{{"keys.go", "\treturn own, c.wait(ctx, own.free, by)", "\t<-own.free\n\treturn own, nil"}},
	},
	{
		name:  "as many handshakes at once as there were processors at the start",
		tests: "openssl.TestHandshakeSlotsFollowGOMAXPROCS",
		edits: []edit{{"keys.go", "return int64(max(4, 2*runtime.GOMAXPROCS(0)))", "return int64(max(4, 0*runtime.GOMAXPROCS(0)))"}},
	},
	{
		name:  "tickets in a packet of their own before the first data",
		tests: "openssl.TestCountsFirstWrite",
		edits: []edit{{"conn.go", "if by == writes && c.ssl.ticketsRemain() {", "if false {"}},
	},
	{
		name:  "a wrong passphrase is a broken key",
		tests: "openssl.TestUseEncryptedCertificate openssl.TestUseEncryptedCertificateLuckyPadding",
		edits: []edit{{"internal/libssl/keys.c", "\treturn OSL_PART_SECRET;", "\treturn OSL_PART_KEY;"}},
	},
	{
		name:  "a passphrase left on the stack",
		tests: "openssl.TestPassphraseIsWiped",
		edits: []edit{{"internal/libssl/keys.c", "\tif (s.asked)\n\t\tosl_wipe_stack();", "\tif (s.asked && !pkey)\n\t\tosl_wipe_stack();"}},
	},
	{
		name:  "a PIN quoted in an error",
		tests: "openssl.TestPINInNoError",
		edits: []edit{{"keys.go", "\t\t\t\tfail.Stack[i].Data = \"\"", "\t\t\t\t_ = i"}},
	},
	{
		name:  "a reason left in the error queue",
		tests: "openssl.TestHandshakeByteByByte",
		edits: []edit{{"internal/libssl/ctx.c", "\twhile (ok && (e = ERR_get_error()) != 0) {", "\twhile (!ok && (e = ERR_get_error()) != 0) {"}},
	},
	{
		name:  "answers kept without a bound",
		tests: "openssl.TestConnFlood",
		edits: []edit{{"conn.go", "\tif c.held <= maxHeld {\n\t\treturn nil\n\t}\n\tc.sentWanted", "\tif true {\n\t\treturn nil\n\t}\n\tc.sentWanted"}},
	},
	{
		name:  "a Write waits for a Read that waits for the peer",
		tests: "openssl.TestConnSpeaksFirst",
		edits: []edit{
			{"conn.go", "\tcase c.handshakeDone.Load():\n\t\treturn nil\n\t}\n\tif err := ctx.Err()", "\t}\n\tif err := ctx.Err()"},
			{"conn.go", "\tdefer c.handshaking.unlock()\n\tswitch {", "\tdefer c.handshaking.unlock()\n\tif c.handshakeDone.Load() {\n\t\tc.reading.lock()\n\t\tdefer c.reading.unlock()\n\t}\n\tswitch {"},
		},
	},
	{
		name:  "CAs of Conf in a store of their own",
		tests: "openssl.TestOneStore",
		edits: []edit{{"conf.go", "\t\tvar did libssl.Changed\n\t\tif trusts {", "\t\tvar did libssl.Changed\n\t\tif trusts && cmd == \"\" {"}},
	},
	{
		name:  "no session is taken under no name",
		tests: "sessiontest.TestOpenDefault",
		edits: []edit{{"probe/probe.go", "append(slices.Clone(p.Hosts), Host{}, Host{Name: unknown})", "slices.Clone(p.Hosts)"}},
	},
	{
		name:  "what cannot be seen is no crossing",
		tests: "sessiontest.TestOneCertificate",
		edits: []edit{{"probe/probe.go", "\tif len(sharing) > 1 {\n", "\tif len(sharing) > len(p.Hosts) {\n"}},
	},
	{
		name:  "a server that has gone has refused a session",
		tests: "sessiontest.TestServerEnds",
		edits: []edit{{"probe/probe.go", "\t\trow.Undecided, row.Why = true, notAnswered\n", "\t\trow.Why = \"\"\n"}},
	},
	{
		name:  "Conf without a trial",
		tests: "openssl.TestConfRefusedChangesNothing",
		edits: []edit{{"internal/libssl/conf.c", "(r.answer = osl_conf_run(server, NULL, ssl, cmd, value)) > 0)", "(r.answer = osl_conf_run(server, c, NULL, cmd, value)) > 0)"}},
	},
	{
		name:  "post-handshake authentication taken",
		tests: "openssl.TestVerifyModesThatAskNobody openssl.TestVerifyModeOfOpensslCnf",
		edits: []edit{{"verify.go", "case m&libssl.SSL_VERIFY_POST_HANDSHAKE != 0:", "case m&libssl.SSL_VERIFY_POST_HANDSHAKE != 0 && false:"}},
	},
	{
		name:  "verify mode not looked at when a Ctx freezes",
		tests: "openssl.TestVerifyModeOfOpensslCnf",
		edits: []edit{{"ctx.go", "case c.verifyFault(VerifyMode(facts.Verify)) != \"\":", "case false:"}},
	},
	{
		name:  "roots behind a damaged one lost",
		tests: "openssl.TestSystemRootsDamaged",
		edits: []edit{{"internal/libssl/roots.c", "\t\tnext = osl_roots_find(p + 1, end);\n", "\t\tnext = end;\n"}},
	},
	{
		name:  "damaged roots in silence",
		tests: "openssl.TestSystemRootsDamaged",
		edits: []edit{{"machine.go", "s.fatal = s.ctx.explainRoots(asError(r.Fail))", "s.fatal = asError(r.Fail)"}},
	},
	{
		name:  "roots read for each client",
		tests: "openssl.TestSystemRootsReadOnce",
		edits: []edit{{"roots.go", "|| systemRoots.file != file", "|| true || systemRoots.file != file"}},
	},
	{
		name:  "roots of the first file for ever",
		tests: "openssl.TestSystemRootsReadOnce",
		edits: []edit{{"roots.go", " || systemRoots.file != file || systemRoots.dir != dir", ""}},
	},
	{
		name:  "one client's CAs and lists in the store of all",
		tests: "openssl.TestSystemRootsAreShared",
		edits: []edit{{"internal/libssl/roots.c", "\tSSL_CTX_set1_cert_store(c, roots->store);\n",
			"\tSTACK_OF(X509_OBJECT) *own = X509_STORE_get0_objects(SSL_CTX_get_cert_store(c));\n" +
				"\tfor (int i = 0; i < sk_X509_OBJECT_num(own); i++) {\n" +
				"\t\tX509_OBJECT *o = sk_X509_OBJECT_value(own, i);\n" +
				"\t\tif (X509_OBJECT_get0_X509(o))\n\t\t\tX509_STORE_add_cert(roots->store, X509_OBJECT_get0_X509(o));\n" +
				"\t\tif (X509_OBJECT_get0_X509_CRL(o))\n\t\t\tX509_STORE_add_crl(roots->store, X509_OBJECT_get0_X509_CRL(o));\n\t}\n" +
				"\tSSL_CTX_set1_cert_store(c, roots->store);\n"},
			{"roots.go", "if c.addsTrust || c.crls != nil {", "if false {"}},
	},
	{
		name:  "what Raw has added to a store lost",
		tests: "openssl.TestRawKeepsTheStore",
		edits: []edit{{"raw_cgo.go", "\t\tc.addsTrust = true // it may have\n", ""}},
	},
	{
		name:  "Raw on a Ctx in use",
		tests: "openssl.TestRawOfFrozenCtx",
		edits: []edit{{"raw_cgo.go", "return c.change(func", "return c.use(func"}},
	},
	{
		name:  "residue taken for an error of Raw",
		tests: "openssl.TestRaw",
		edits: []edit{{"raw_cgo.go", "\tosl_enter();\n\tif (((int (*)(SSL *, void *))f)", "\tif (((int (*)(SSL *, void *))f)"}},
	},
	{
		name:  "size of chains left to the listener",
		tests: "openssl.TestSetMaxCertList",
		edits: []edit{{"internal/libssl/ssl.c", "\tSSL_set_max_cert_list(ssl, SSL_CTX_get_max_cert_list(c));\n", ""}},
	},
	{
		name:  "the listener's OCSP response",
		tests: "openssl.TestOCSPResponseAfterSwitch",
		edits: []edit{
			{"internal/libssl/ocsp.c", "#include \"ocsp.h\"\n", "#include \"ssl.h\"\n#include \"ocsp.h\"\n"},
			{"internal/libssl/ocsp.c", "SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl))", "SSL_CTX_get_app_data(((osl_ssl *)SSL_get_app_data(ssl))->first_ctx)"},
		},
	},
	{
		name:  "sessions made without an OCSP response for clients that ask",
		tests: "openssl.TestOCSPRequestInTheCacheKey",
		edits: []edit{{"policy.go", "c.trustSet, c.ocspRequest", "c.trustSet"}},
	},
	{
		name:  "a server without a certificate whatever its suites",
		tests: "openssl.TestAnonymousServer openssl.TestServerNotReady",
		edits: []edit{{"ctx.go", "return !facts.HasCertificate && !(facts.Anonymous && before13)", "return !facts.HasCertificate && !facts.Anonymous && !before13 && false"}},
	},
	{
		name:  "anonymous suites beside TLS 1.3",
		tests: "openssl.TestAnonymousServer",
		edits: []edit{{"ctx.go", "!(facts.Anonymous && before13)", "!(facts.Anonymous || before13)"}},
	},
	{
		name:  "Finished without extended master secret",
		tests: "openssl.TestFinished",
		edits: []edit{{"connstate.go", "\tif !unique {\n", "\tif !unique && false {\n"}},
	},
	{
		name:  "a chain that does not verify",
		tests: "openssl.TestVerifiedChains",
		edits: []edit{
			{"connstate.go", "!st.Reused && st.VerifyResult == 0 {", "!st.Reused {"},
			{"internal/libssl/state.c", "if (!chain || SSL_get_verify_result(t->ssl) != X509_V_OK)", "if (!chain)"},
		},
	},
	{
		name:  "no partial chain",
		tests: "openssl.TestVerifyTrustsExactlyWhatIsGiven",
		edits: []edit{{"verify.go", "\t\tf = VerifyPartialChain\n", "\t\tf = 0\n"}},
	},
	{
		name:  "a root trusted that nobody named",
		tests: "openssl.TestVerifyTrustsExactlyWhatIsGiven",
		edits: []edit{{"internal/libssl/ctx.c", "\tif (ok)\n\t\treturn 1;\n\tif (osl_spares_anchor(x)) {",
			"\tif (ok || X509_STORE_CTX_get_error(x) == X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN)\n\t\treturn 1;\n\tif (osl_spares_anchor(x)) {"}},
	},
	{
		name:  "lists of a trusted CA's issuer not looked at",
		tests: "openssl.TestVerifyFlagsAndCRLs",
		edits: []edit{{"internal/libssl/ctx.c", "\treturn !listed;\n", "\treturn 1;\n"}},
	},
	{
		name:  "any name left out of the cache key",
		tests: "openssl.TestVerifySettingsAreInTheCacheKey",
		edits: []edit{{"policy.go", "c.verify & (VerifyDefer | VerifyAnyName)", "c.verify & VerifyDefer"}},
	},
	{
		name:  "a name demanded all the same",
		tests: "openssl.TestVerifyAnyName",
		edits: []edit{{"machine.go", " && s.ctx.verify&(VerifyDefer|VerifyAnyName) == 0 {", " {"}},
	},
	{
		name:  "any name of the Ctx before a switch",
		tests: "openssl.TestVerifyAnyName",
		edits: []edit{{"internal/libssl/ctx.c", "SSL_get_SSL_CTX(ssl)))->any_name) {", "((osl_ssl *)SSL_get_app_data(ssl))->first_ctx))->any_name) {"}},
	},
	{
		name:  "the common name taken for a host name",
		tests: "openssl.TestSetHostFlags",
		edits: []edit{{"internal/libssl/ctx.c", "X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT", "X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS"}},
	},
	{
		name:  "host flags left behind by a switch",
		tests: "openssl.TestSetHostFlags",
		edits: []edit{{"internal/libssl/ssl.c", "\tX509_VERIFY_PARAM_set_hostflags(to, X509_VERIFY_PARAM_get_hostflags(from));\n", ""}},
	},
	{
		name:  "verify flags left out of the context",
		tests: "openssl.TestVerifySettingsAreInTheContext",
		edits: []edit{{"policy.go", "fmt.Sprint(facts.VerifyFlags, facts.HostFlags, c.opaque)", "fmt.Sprint(facts.HostFlags, c.opaque)"}},
	},
	{
		name:  "a verified peer of nobody",
		tests: "openssl.TestOpaqueCertificates openssl.TestOpaqueCertificateResumed",
		edits: []edit{{"connstate.go", "if err != nil || peer.unreadable == nil || ", "if err != nil || peer.unreadable == nil || true || "}},
	},
	{
		name:  "a CA in the peer's place",
		tests: "openssl.TestOpaqueCertificates",
		edits: []edit{{"connstate.go", "\t\t\tp.unreadable = err\n\t\t\tbreak\n", "\t\t\tp.unreadable = err\n"}},
	},
	{
		name:  "names of CAs that do not fit",
		tests: "openssl.TestClientCANamesThatDoNotFit",
		edits: []edit{{"internal/libssl/conf.c", "return size > OSL_MAX_CA_NAMES ? size : 0;", "return 0;"}},
	},
	{
		name:  "trusted certificates left out",
		tests: "openssl.TestTrustedCertificateBlocks",
		edits: []edit{{"internal/libssl/pem.c", "PEM_read_bio_X509_AUX(b, &x,", "PEM_read_bio_X509(b, &x,"}},
	},
	{
		name:  "a Revoke after the decision comes too late",
		tests: "openssl.TestRevokeInFlight",
		edits: []edit{{"refusal.go", "s.resumption == ResumptionResumed && s.decidedIn != ", "s.resumption == ResumptionResumed && s.phase < phaseDone && s.decidedIn != "}},
	},
	{
		name:  "a Revoke between two ClientHellos fails the handshake",
		tests: "openssl.TestBetweenClientHellos",
		edits: []edit{{"policy.go", "return helloAnswer{string(c.policy), string(c.base[:])}", "present := c.presentLocked()\n\t\treturn helloAnswer{string(c.policy), string(present.bytes())}"}},
	},
	{
		name:  "a generation for each Ctx",
		tests: "openssl.TestRevokeInFlight openssl.TestGenerationsOfEqualPolicies",
		edits: []edit{{"policy.go", "\treturn r.of[b]\n", "\treturn r.of[b] & 0\n"}},
	},
	{
		name:  "the listener's functions end with the switch",
		tests: "openssl.TestSwitchKeepsTheListenersFunctions",
		edits: []edit{
			{"refusal.go", "first, own := s.first.verifyConnection, s.ctx.verifyConnection", "first, own := s.ctx.verifyConnection, s.ctx.verifyConnection"},
			{"ssl.go", "logs := s.first.hasKeyLogWriter()", "logs := false"},
		},
	},
	{
		name:  "cipher suites left out of the context",
		tests: "openssl.TestSettersInTheContext",
		edits: []edit{{"policy.go", "\td.Bytes(id.Ciphers)\n", ""}},
	},
	{
		name:  "paths in the context",
		tests: "openssl.TestContextKnowsNoPaths",
		edits: []edit{{"conf.go", "\tif held.B == nil {", "\tif true {"}},
	},
	{
		name:  "a session offered without a look at its certificate",
		tests: "openssl.TestClientCacheLooksAtTheCertificate",
		edits: []edit{{"machine.go", "may = s.h.P.MayOffer(p)", "may = true"}},
	},
	{
		name:  "age counted from the decision, however long ago",
		tests: "openssl.TestMaxAuthAgeOfASlowClient",
		edits: []edit{{"internal/libssl/resumption.c", "t->hello_done_at < earliest ? earliest : t->hello_done_at;", "t->hello_done_at + 0 * earliest;"}},
	},
	{
		name:  "the Library left out of the context",
		tests: "openssl.TestLibraryInTheContext",
		edits: []edit{{"policy.go", "\td.Bytes(c.library.digest())\n", ""}},
	},
	{
		name:  "a switch to another Library",
		tests: "openssl.TestLibraryIsNotLeft",
		edits: []edit{{"ssl.go", "c.library != s.first.library", "false"}},
	},
	{
		name:  "a session in another Library",
		tests: "openssl.TestLibraryIsNotLeft",
		edits: []edit{{"ssl.go", "sess.library != anyLibrary &&", "false &&"}},
	},
	{
		name:  "tickets encrypted by the default library context",
		tests: "openssl.TestLibraryAlone",
		edits: []edit{{"internal/libssl/library.c", "return l ? l->ticket : EVP_aes_256_cbc();", "return l && !l->ticket ? NULL : EVP_aes_256_cbc();"}},
	},
	{
		name:  "lists tried in the default library context",
		tests: "openssl.TestLibraryAlone",
		edits: []edit{{"internal/libssl/conf.c", "osl_library_ctx(osl_ctx_library(c), SSL_CTX_get_ssl_method(c))", "osl_library_ctx(NULL, SSL_CTX_get_ssl_method(c))"}},
	},
	{
		name:  "a library context freed while threads remember it",
		tests: "openssl.TestLibraryThreads",
		edits: []edit{{"library.go", "\tl.closed.Store(true)\n", "\tl.closed.Store(true)\n\tl.library.p.Drop()\n"}},
	},
	{
		name:  "a provider that is not there passes",
		tests: "openssl.TestLibraryErrors",
		edits: []edit{{"internal/libssl/library.c", "if (module || !OSSL_PROVIDER_load(l->libctx, name)) {", "if (module && !OSSL_PROVIDER_load(l->libctx, name)) {"}},
	},
	{
		name:  "a configuration that changes the process",
		tests: "openssl.TestLibraryErrors",
		edits: []edit{{"internal/libssl/library.c", "if (osl_library_global(l->conf, section, r.name, sizeof r.name))", "if (0 && osl_library_global(l->conf, section, r.name, sizeof r.name))"}},
	},
	{
		name:  "PSK counted as a resumption",
		tests: "openssl.TestPSK openssl.TestPSKBesideCertificates spec.TestSpec/73_psk_is_no_resumption",
		edits: []edit{{"internal/libssl/resumption.c", "\tif (osl_psk_used(t)) {\n\t\tt->resumption = OSL_PSK;\n\t\treturn;\n\t}\n", ""}},
	},
	{
		name:  "identities left out of the context",
		tests: "openssl.TestPSKInTheContext openssl.TestPSKRemoved",
		edits: []edit{{"policy.go", "d.Set(c.psks.records())", "d.Set(nil)"}},
	},
	{
		name:  "PSKs left to SSL_set_SSL_CTX",
		tests: "openssl.TestPSKSwitch",
		edits: []edit{{"internal/libssl/ssl.c", "\tosl_psk_switch(t);\n", ""}},
	},
	{
		name:  "PSK's session without the client's context",
		tests: "openssl.TestPSKClientContext",
		edits: []edit{{"internal/libssl/psk.c", "(unsigned int)t->sidctx_n) != 1 ||", "0) != 1 ||"}},
	},
	{
		name: "PSK's identity taken for a session id",
		rows: "A68",
		edits: []edit{
			{"internal/libssl/hello.c", "\t\t\to->psk_here = 1;\n\t\telse if (k", "\t\t\to->psk_here = 1;\n\t\tif (k"},
			{"internal/libssl/hello.c", "\t\tif (!osl_psk_find(t, ids, *id_n)) /*", "\t\tif (1) /*"},
		},
	},
	{
		name:  "session of a removed PSK",
		rows:  "A66",
		edits: []edit{{"internal/libssl/resumption.c", "\treturn r->checks || t->psks.n;", "\treturn t->psks.n && 0 * r->checks;"}},
	},
	{
		name:  "suite selected without the PSK's hash",
		tests: "openssl.TestPSKHash",
		edits: []edit{{"internal/libssl/hello.c", "if (t->offer.psk_here && !osl_psk_prefer_hash(t))", "if (0 && !osl_psk_prefer_hash(t))"}},
	},
	// The wall: CONTRIBUTING.md's rules for calling C.
	{
		name:  "wall: a failure dropped",
		tests: "openssl.TestErrorOneLine openssl.TestSetSessionIDContextRefuses",
		edits: []edit{{"sidctx_cgo.h", "return osl_result(SSL_CTX_set_session_id_context(c, sid, osl_sidctx_len(n)) == 1);", "return osl_result(SSL_CTX_set_session_id_context(c, sid, osl_sidctx_len(n)) <= 1);"}},
	},
	{
		name:  "wall: a length narrowed",
		tests: "openssl.TestSetSessionIDContextRefuses",
		edits: []edit{{"sidctx_cgo.h", "return n > UINT_MAX ? UINT_MAX : (unsigned int)n;", "return (unsigned int)n;"}},
	},
	{
		name:  "wall: what others have left taken for this call's failure",
		tests: "spec.TestSpec/08_foreign_errors",
		edits: []edit{{"sidctx_cgo.h", "\tosl_enter();\n\treturn osl_result(SSL_CTX_set_session_id_context", "\treturn osl_result(SSL_CTX_set_session_id_context"}},
	},
	{
		name:  "wall: a queue that is not drained",
		tests: "openssl.TestErrorOfAMissingFile",
		tags:  "queuecheck",
		edits: []edit{{"internal/libssl/error.c", "\twhile ((e = osl_next_error(&file, &line, &func, &data)) != 0) {", "\twhile (f->n == 0 && (e = osl_next_error(&file, &line, &func, &data)) != 0) {"}},
	},
	{
		name:  "wall: a lock left out",
		tests: "openssl.TestHostsReplaceUnderLoad",
		race:  true,
		edits: []edit{{"hosts.go", "\th.mu.RLock()\n\tdefer h.mu.RUnlock()\n\tname, err := NormalizeHost(name)", "\tname, err := NormalizeHost(name)"}},
	},
	{
		name:  "wall: a function of the program's called under a lock",
		tests: "openssl.TestClientHelloFuncMayUseConn",
		edits: []edit{{"machine.go", "\terr = recoverToError(\"SetClientHelloFunc\", func() (err error) {\n", "\ts.h.Mu.Lock()\n\tdefer s.h.Mu.Unlock()\n\terr = recoverToError(\"SetClientHelloFunc\", func() (err error) {\n"}},
	},
	// What SECURITY.md promises.
	{
		name:  "a panic ends the process",
		tests: "isolation.TestClientHelloFuncFails openssl.TestErrorOfAPanic",
		edits: []edit{{"machine.go", "if r := recover(); r != nil {", "if r := any(nil); r != nil {"}},
	},
	{
		name:  "a session without a certificate where one is required",
		tests: "isolation.TestRequiredCertificate",
		edits: []edit{{"internal/libssl/resumption.c", "if (r->checks && !peer && osl_requires_peer(t->ssl) &&", "if (0 && !peer && osl_requires_peer(t->ssl) &&"}},
	},
	{
		name:  "a session from the future",
		tests: "openssl.TestStoreAnswersThatAreDropped",
		edits: []edit{{"internal/libssl/resumption.c", "\treturn made > osl_add(now, 60);", "\treturn 0 * (made > now);"}},
	},
	{
		name:  "names folded as Unicode has it",
		tests: "openssl.TestHostsFoldASCIIOnly",
		edits: []edit{{"hosts.go", "\tb := []byte(name)\n\tfor i, c := range b {", "\tname = strings.ToLower(name)\n\tb := []byte(name)\n\tfor i, c := range b {"}},
	},
	{
		name:  "any port of a host's name",
		tests: "openssl.TestNormalizeHost",
		edits: []edit{{"hosts.go", "if strings.Trim(port, \"0123456789\") != \"\" {", "if port == \"x\" {"}},
	},
	{
		name:  "a request for another host",
		tests: "httpx.TestA25HostOfAnotherPolicy",
		edits: []edit{{"httpx/hosts.go", "!hosts.Serves(FromRequest(r), r.Host)", "!hosts.Serves(FromRequest(r), r.Host) && false"}},
	},
	{
		name:  "a client cache without a bound",
		tests: "openssl.TestLRUBounded openssl.TestLRUDefaultCapacity",
		edits: []edit{{"clientcache.go", "if l.order.Len() > l.capacity {", "if false {"}},
	},
	{
		name:  "a client's sessions for as long as the server likes",
		tests: "openssl.TestLRULifetime",
		edits: []edit{{"clientcache.go", "int64(min(i.Timeout, maxClientLifetime)/time.Second)", "int64(i.Timeout/time.Second)"}},
	},
	{
		name:  "a TLS 1.3 session offered twice",
		tests: "openssl.TestLRUOnce",
		edits: []edit{{"clientcache.go", "if usable && !entry.singleUse {", "if usable {"}},
	},
	{
		name:  "one ticket of two",
		tests: "openssl.TestClientSessionCacheBothTickets",
		edits: []edit{{"clientcache.go", "const maxTickets = 2", "const maxTickets = 1"}},
	},
	{
		name:  "the session of a connection that was cut",
		tests: "openssl.TestCutEndsTheSession",
		edits: []edit{{"internal/libssl/ssl.c", "\t\t\tosl_ssl_invalidate_cut(t);\n", ""}},
	},
	{
		name:  "renegotiation",
		tests: "isolation.TestWhatIsNotOffered",
		edits: []edit{{"internal/libssl/ctx.c", "\tSSL_CTX_set_options(c, SSL_OP_NO_RENEGOTIATION);\n", ""}},
	},
	{
		name:  "revocation lists left out of the context",
		tests: "openssl.TestDerivedContext",
		edits: []edit{{"policy.go", "\td.Set(id.CRLs)\n", ""}},
	},
	{
		name:  "an older certificate in place of a newer one",
		tests: "openssl.TestCertificateReloaderOrder",
		edits: []edit{{"reload.go", "\tcase turn > r.newest:\n", "\tcase true:\n"}},
	},
	{
		name:  "a renewal that fails ends the host",
		tests: "openssl.TestCertificateReloaderFails",
		edits: []edit{{"reload.go", "\tsum, err := r.readFiles()\n\tif err != nil {\n\t\treturn false, err\n\t}\n\tif sum == known", "\tsum, err := r.readFiles()\n\tif err != nil {\n\t\tr.hosts.Remove(r.pattern)\n\t\treturn false, err\n\t}\n\tif sum == known"}},
	},
	{
		name:  "hosts without the protocols of their server",
		tests: "httpx.TestRequireALPN",
		edits: []edit{{"httpx/server.go", "\t\t\tif slices.Contains(offered, name) {\n", "\t\t\tif true {\n"}},
	},
	{
		name:  "the default not compared with the hosts",
		tests: "openssl.TestHostsDefaultSharesNoContext",
		edits: []edit{{"hosts.go", "\tif h.fallback != nil {\n\t\tall = append(", "\tif h.fallback != nil && false {\n\t\tall = append("}},
	},
	{
		name:  "output that waits moved to a wrong place",
		tests: "openssl.TestMachineBacklog",
		edits: []edit{{"internal/libssl/ssl.c", "memmove(t->spill, t->spill + t->spill_r, t->spill_n);", "memmove(t->spill, t->spill, t->spill_n);"}},
	},
}
