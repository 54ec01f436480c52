// Signing in and out. The session is a cookie that scripts cannot read.
import { h, put } from './dom.js';
import { get, call } from './api.js';
import { field, form, notice } from './ui.js';

// signIn shows the ways to sign in and comes back when one of them worked.
export async function signIn(main) {
  const ways = await get('/klamm/v1/session/ways'); // public: {ways: ['key', 'basic', 'oidc']}
  const has = (w) => ways.ways.includes(w);
  return new Promise((resolve) => {
    const enter = async (body) => { await call('POST', '/klamm/v1/session', { body }); resolve(); };
    const key = field('API key', { type: 'password', required: true, autocomplete: 'current-password' });
    const user = field('User', { required: true, autocomplete: 'username' });
    const password = field('Password', { type: 'password', required: true, autocomplete: 'current-password' });
    put(main, h('div.signin', h('h1', 'Sign in'),
      /[?&]signin=refused/.test(location.hash) && notice('bad', h('strong', 'That did not work.'), ' Your identity provider has not said who you are, or it took too long. The audit log has the reason.'),
      !ways.ways.length && notice('warn', 'Nobody can sign in here: no way is configured that a browser has. See auth in the configuration reference.'),
      has('oidc') && h('a.main.button', { href: '/klamm/v1/session/oidc?back=' + encodeURIComponent(location.hash) }, 'Sign in with your identity provider'),
      has('key') && form([key], 'Sign in with a key', () => enter({ key: key.input.value })),
      has('basic') && form([user, password], 'Sign in with a password', () => enter({ user: user.input.value, password: password.input.value }))));
    document.title = 'Sign in · klamm';
    const first = main.querySelector('input, a');
    if (first) first.focus();
  });
}

export const signOut = () => call('DELETE', '/klamm/v1/session');
