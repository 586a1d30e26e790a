/* openapi_page.h - the page of openapi.c: lists the operations of openapi.json and sends requests.
 * It needs nothing from elsewhere. */
#ifndef HOST_OPENAPI_PAGE_H
#define HOST_OPENAPI_PAGE_H

/* clang-format off */
static const char openapi_page[] =
    "<!doctype html>\n"
    "<html lang=\"en\"><head><meta charset=\"utf-8\"><title>API</title>\n"
    "<meta name=\"viewport\" content=\"width=device-width\">\n"
    "<style>\n"
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}\n"
    "h1{margin:0}details{border:1px solid #ccc;border-radius:6px;margin:.5rem 0;padding:.4rem .8rem}\n"
    "summary{cursor:pointer}b.verb{display:inline-block;width:4.5rem;font-family:monospace}\n"
    "label{display:grid;grid-template-columns:10rem 1fr;gap:.5rem;margin:.3rem 0}\n"
    "input,textarea{font:13px monospace;padding:.3rem;border:1px solid #bbb;border-radius:4px;width:100%;box-sizing:border-box}\n"
    "pre{background:#f4f4f4;padding:.6rem;overflow:auto;border-radius:4px;max-height:24rem}\n"
    "button{font:inherit;padding:.2rem 1rem}small{color:#666}\n"
    "</style></head><body>\n"
    "<h1 id=\"title\">API</h1><p id=\"about\"></p>\n"
    "<label>Token <input id=\"token\" placeholder=\"login token of queries that need one\"></label>\n"
    "<p><small>The description is at <a id=\"raw\">openapi.json</a>.</small></p><div id=\"list\"></div>\n"
    "<script>\n"
    "const base=location.pathname.replace(/\\/$/,''),q=location.search,make=(t,p,s)=>{const e=document.createElement(t);if(s)e.textContent=s;p.append(e);return e};\n"
    "const sample=s=>{if(!s||!s.type)return null;const t=[].concat(s.type)[0];if('default'in s)return s.default;if(s.enum)return s.enum[0];\n"
    "if(t==='object'){const o={};for(const k in s.properties||{})o[k]=sample(s.properties[k]);return o}\n"
    "return t==='array'?[]:t==='boolean'?false:t==='string'?'':0};\n"
    "function form(path,verb,op,box){\n"
    "const inputs=[];for(const p of op.parameters||[]){const l=make('label',box,p.name+(p.required?' *':''));const i=make('input',l);\n"
    "i.placeholder=(p.schema.type||'any')+(p.schema.description?' - '+p.schema.description:'');inputs.push([p,i])}\n"
    "let body,kind;if(op.requestBody){kind=Object.keys(op.requestBody.content)[0];const l=make('label',box,'body');body=make('textarea',l);body.rows=6;\n"
    "body.value=JSON.stringify(sample(op.requestBody.content[kind].schema),null,1)}\n"
    "const go=make('button',box,'Send'),out=make('pre',box);\n"
    "go.onclick=async()=>{let url=base+path,qs=new URLSearchParams();for(const[p,i]of inputs){if(p.in==='path')url=url.replace('{'+p.name+'}',encodeURIComponent(i.value));\n"
    "else if(i.value!=='')qs.append(p.name,i.value)}\n"
    "if([...qs].length)url+='?'+qs;const h={},t=document.getElementById('token').value;if(t)h.Authorization='Bearer '+t;if(body)h['Content-Type']='application/json';\n"
    "out.textContent='...';try{const began=performance.now(),r=await fetch(url,{method:verb.toUpperCase(),headers:h,body:body?body.value:undefined}),text=await r.text();\n"
    "let shown=text;try{shown=JSON.stringify(JSON.parse(text),null,1)}catch(e){}out.textContent=r.status+' in '+Math.round(performance.now()-began)+' ms\\n'+shown}\n"
    "catch(e){out.textContent=String(e)}}}\n"
    "document.getElementById('raw').href=base+'/openapi.json'+q;\n"
    "fetch(base+'/openapi.json'+q).then(r=>r.json()).then(d=>{document.title=document.getElementById('title').textContent=d.info.title;\n"
    "document.getElementById('about').textContent=d.info.description||'';\n"
    "for(const path in d.paths)for(const verb in d.paths[path]){const op=d.paths[path][verb],box=make('details',document.getElementById('list')),s=make('summary',box);\n"
    "make('b',s,verb.toUpperCase()).className='verb';make('span',s,path+(op.security?' (login)':''));if(op.summary)make('small',s,' '+op.summary);\n"
    "if(op.description)make('p',box,op.description);form(path,verb,op,box)}}).catch(e=>{document.getElementById('about').textContent=String(e)});\n"
    "</script></body></html>\n";
/* clang-format on */

#endif
